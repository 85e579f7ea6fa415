//! `clawback events replay`: stored events go to the event exchange once more.

use std::time::Duration;

use clawback_broker::{Broker, PublishError, Routing};
use clawback_domain::{PartnerId, Time, event::Event};
use clawback_store::Store;
use clawback_worker::event_message;
use indicatif::ProgressBar;
use serde_json::json;

use super::history::Pages;
use crate::{
    auditing::Since,
    config::{Needs, Setup},
    context::{Context, open_amqp},
    failure::Failure,
};

#[derive(Debug, clap::Args)]
pub struct ReplayFlags {
    /// What happened since: so long ago (24h), or a time (2026-03-01T12:00:00Z)
    #[arg(long, value_name = "SPAN|TIME")]
    since: Since,
    #[arg(long)]
    partner: Option<PartnerId>,
    /// Events published a second, so that what happens now is not held up
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Say how many there are, and publish none
    #[arg(long)]
    dry_run: bool,
}

/// # Errors
/// The store, RabbitMQ, or no RabbitMQ at all.
pub async fn run(context: &Context, flags: ReplayFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let now = context.clock(&setup, &*store).await?.now();
    let since = flags.since.at(now).unwrap_or(Time::MIN_UTC);
    let replayed = if flags.dry_run {
        count(&*store, flags.partner.as_ref(), since).await.and_then(|count| {
            context.out.result(&json!({ "would_replay": count }), || format!("{count} would be published once more"))
        })
    } else {
        replay(context, &setup, &*store, &flags, since).await
    };
    store.close().await;
    replayed
}

async fn count(store: &dyn Store, partner: Option<&PartnerId>, since: Time) -> Result<u64, Failure> {
    let mut pages = Pages::new(store, partner, since).await?;
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        count += page.len() as u64;
    }
    Ok(count)
}

async fn replay(context: &Context, setup: &Setup, store: &dyn Store, flags: &ReplayFlags, since: Time) -> Result<(), Failure> {
    let Some(url) = &setup.amqp else {
        return Err(Failure::usage(
            "the embedded broker lives inside `clawback up` and keeps no exchange to publish to: set AMQP_URL, or use \
             `clawback webhooks replay` or GET /v1/events",
        ));
    };
    let partner = flags.partner.as_ref();
    let bar = bar(context, count(store, partner, since).await?);
    let broker = open_amqp(url).await?;
    let mut pages = Pages::new(store, partner, since).await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / flags.rate);
    let (mut published, mut unrouted) = (0_u64, 0_u64);
    while let Some(page) = pages.next().await? {
        for stored in page {
            pace.tick().await;
            match publish(&*broker, &stored.event).await? {
                Routing::Routed => published += 1,
                Routing::Unrouted => unrouted += 1,
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    broker.close(Duration::from_secs(5)).await;
    context.out.result(&json!({ "replayed": published, "unrouted": unrouted }), || {
        format!("{published} published once more; {unrouted} found no queue")
    })
}

async fn publish(broker: &dyn Broker, event: &Event) -> Result<Routing, Failure> {
    let published: Result<_, PublishError> = broker.publish(event_message(event)).await;
    published.map_err(|error| Failure::failed(format!("{}: {error}; run it again, consumers expect repeats", event.id)))
}

fn bar(context: &Context, total: u64) -> ProgressBar {
    if context.out.is_live() { ProgressBar::new(total) } else { ProgressBar::hidden() }
}
