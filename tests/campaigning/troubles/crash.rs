//! Processes that abort at a named point of the code.

use std::time::Duration;

use anyhow::Result;
use clawback_domain::rehearsal::Point;
use clawback_telemetry::names::INITS_IN_FLIGHT;
use clawback_tests::{Role, Weather};
use tokio::time::sleep;

use super::Struck;
use crate::{chance::Chance, crew::Duty, site::Site};

/// Of points that every purchase passes: the first of a batch, or one in the middle.
const VISITS: usize = 4;
/// Spoilt commands are fewer.
const VISITS_OF_DEAD_LETTERS: usize = 2;
/// A batch has passed every point by then, also through a poll or two; and what was cut off at its begin has come due.
const DIES: Duration = Duration::from_secs(18);
/// Longer than a call by so much that some calls come to their end in it.
const SILENCE: Duration = Duration::from_secs(5);

/// Puts the process in place that will die.
pub async fn doom(site: &mut Site, chance: &mut Chance, duty: Duty, point: Point) -> Result<Role> {
    let visits = match point {
        Point::ClaimedNotStepped | Point::LookedNotJudged => 1,
        Point::DeadLetteredNotAcked | Point::DeadLetterStoredNotAcked => VISITS_OF_DEAD_LETTERS,
        _ => VISITS,
    };
    if matches!(point, Point::ClaimedNotStepped | Point::LookedNotJudged) {
        // It serves alone, so that whatever is due comes to it.
        site.crew.take_oldest(duty)?.kill()?;
    }
    let visit = 1 + chance.below(visits);
    site.crew.doom(&mut site.stage, duty, point, visit).await
}

/// Completes when it is dead: what it left between two lines is found by the others.
pub async fn until_dead(site: &mut Site, point: Point, mut doomed: Role) -> Result<Struck> {
    provoke(site, point).await?;
    match doomed.ends(DIES).await {
        Ok(_) => Ok(Struck::Hit),
        Err(_) => {
            doomed.kill()?;
            Ok(Struck::Missed("it was not reached; the process was killed instead".into()))
        }
    }
}

/// Some points are not on the way of a purchase on a good day.
async fn provoke(site: &mut Site, point: Point) -> Result<()> {
    match point {
        // Nothing is ever due: somebody must leave something behind.
        Point::ClaimedNotStepped => {
            site.crew.in_the_act(INITS_IN_FLIGHT).await;
            site.crew.take_oldest(Duty::Worker)?.kill()?;
        }
        // No outcome is unknown.
        Point::LookedNotJudged => {
            site.upstream_way.set(Weather::Silent);
            sleep(SILENCE).await;
            site.upstream_way.set(Weather::Fair);
        }
        _ => {}
    }
    Ok(())
}
