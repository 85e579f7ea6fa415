//! What happens between Clawback and its servers.

use std::time::Duration;

use anyhow::Result;
use clawback_tests::{Proxy, Weather};
use tokio::time::sleep;

use super::Struck;
use crate::{chance::Chance, site::Site};

/// Longer than a connection's heartbeats (twice 2 s) and than any call (3 s); shorter than what an upstream's effect may come after
/// the last moment to send: see `UNDER_WAY` of the audit.
const SILENCE: Duration = Duration::from_secs(5);

async fn spell(way: &Proxy, weather: Weather, span: Duration) -> Result<Struck> {
    way.set(weather);
    sleep(span).await;
    way.set(Weather::Fair);
    Ok(Struck::Hit)
}

fn cut(way: &Proxy) -> Result<Struck> {
    way.cut();
    Ok(Struck::Hit)
}

/// As a restart of the upstream looks from here: answers under way are lost, then nobody is there. What was cut is never called again,
/// what was refused was never sent and is.
pub async fn sandbox_away(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const AWAY: Duration = Duration::from_secs(4);
    site.upstream_way.set(Weather::Refusing);
    site.upstream_way.cut();
    sleep(AWAY).await;
    site.upstream_way.set(Weather::Fair);
    Ok(Struck::Hit)
}

/// Calls are cut at any byte, before or after their effect, and the next connection is as good as ever.
pub async fn sandbox_cut(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    cut(&site.upstream_way)
}

/// Every call has its effect, and every answer comes when nobody waits any more.
pub async fn sandbox_late(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const EACH_WAY: Duration = Duration::from_millis(1_700);
    spell(&site.upstream_way, Weather::Slow(EACH_WAY), SILENCE).await
}

/// Requests have their effect after the call was given up.
pub async fn sandbox_silent(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    spell(&site.upstream_way, Weather::Silent, SILENCE).await
}

/// Confirms and acks are lost with their connection: what was published goes out again, what was delivered comes again.
pub async fn rabbitmq_cut(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    cut(&site.broker_way)
}

pub async fn rabbitmq_slow(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const EACH_WAY: Duration = Duration::from_millis(400);
    spell(&site.broker_way, Weather::Slow(EACH_WAY), SILENCE).await
}

/// Packets dropped on the way: only heartbeats tell. Both sides give the connection up, each for itself.
pub async fn rabbitmq_silent(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const LONGER_THAN_HEARTBEATS: Duration = Duration::from_secs(6);
    spell(&site.broker_way, Weather::Silent, LONGER_THAN_HEARTBEATS).await
}

/// A connection lost in COMMIT: whether it stands is read back before anything else.
pub async fn postgresql_cut(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    cut(&site.store_way)
}

pub async fn postgresql_slow(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const EACH_WAY: Duration = Duration::from_millis(150);
    spell(&site.store_way, Weather::Slow(EACH_WAY), SILENCE).await
}

/// Commits that hang, longer than an attempt may be sent: what was not sent in time is not sent.
pub async fn postgresql_silent(site: &mut Site, _: &mut Chance) -> Result<Struck> {
    const LONGER_THAN_TO_SEND: Duration = Duration::from_secs(7);
    spell(&site.store_way, Weather::Silent, LONGER_THAN_TO_SEND).await
}
