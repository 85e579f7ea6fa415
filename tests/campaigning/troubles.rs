//! Everything that may go wrong in a campaign, in one table. Each trouble is a function that brings it about and ends it; what it proves
//! stands above it.

mod crash;
mod disk;
mod network;
mod processes;
mod servers;

use std::{future::Future, pin::Pin};

use anyhow::Result;
use clawback_domain::rehearsal::Point;

use crate::{chance::Chance, crew::Duty, site::Site};

/// What became of a trouble.
pub enum Struck {
    /// It happened.
    Hit,
    /// It happened, and processes had to be restarted by hand to get over it: so many.
    Restarted(usize),
    /// It did not come to pass; why.
    Missed(String),
}

type Striking<'a> = Pin<Box<dyn Future<Output = Result<Struck>> + Send + 'a>>;

type Strike = for<'a> fn(&'a mut Site, &'a mut Chance) -> Striking<'a>;

/// How a trouble is brought about. It is over when the future completes.
#[derive(Clone, Copy)]
pub enum How {
    /// To everything as it runs, at a drawn moment while commands come.
    Anytime(Strike),
    /// When every command that has come is a row, and none comes.
    Stored(Strike),
    /// A process of this duty aborts at this point. It is in place before the batch is published.
    At(Duty, Point),
}

#[derive(Clone, Copy)]
pub struct Trouble {
    pub name: &'static str,
    pub how: How,
}

pub use crash::{doom, until_dead};

/// Wraps a function of the site, so that it fits the table.
macro_rules! anytime {
    ($name:literal, $strike:path) => {
        Trouble { name: $name, how: How::Anytime(|site, chance| Box::pin($strike(site, chance))) }
    };
}

macro_rules! stored {
    ($name:literal, $strike:path) => {
        Trouble { name: $name, how: How::Stored(|site, chance| Box::pin($strike(site, chance))) }
    };
}

macro_rules! at {
    ($name:literal, $duty:ident, $point:ident) => {
        Trouble { name: $name, how: How::At(Duty::$duty, Point::$point) }
    };
}

pub const TROUBLES: [Trouble; 38] = [
    anytime!("worker killed", processes::worker_killed),
    anytime!("scheduler killed", processes::scheduler_killed),
    anytime!("everybody killed", processes::everybody_killed),
    anytime!("everybody restarted in turn", processes::everybody_restarted_in_turn),
    anytime!("worker frozen past its deadlines", processes::worker_frozen),
    anytime!("scheduler frozen", processes::scheduler_frozen),
    anytime!("rabbitmq restarted", servers::rabbitmq_restarted),
    anytime!("rabbitmq killed", servers::rabbitmq_killed),
    anytime!("rabbitmq out of memory", servers::rabbitmq_out_of_memory),
    anytime!("rabbitmq password rotated", servers::password_rotated),
    anytime!("step queue deleted", servers::step_queue_deleted),
    stored!("purchase queue deleted", servers::purchase_queue_deleted),
    anytime!("postgresql restarted", servers::postgresql_restarted),
    anytime!("postgresql killed", servers::postgresql_killed),
    anytime!("postgresql disk full", disk::full),
    anytime!("sandbox frozen", servers::sandbox_frozen),
    anytime!("sandbox away", network::sandbox_away),
    anytime!("sandbox connections cut", network::sandbox_cut),
    anytime!("sandbox answers late", network::sandbox_late),
    anytime!("sandbox silent", network::sandbox_silent),
    anytime!("rabbitmq connections cut", network::rabbitmq_cut),
    anytime!("rabbitmq slow", network::rabbitmq_slow),
    anytime!("rabbitmq silent", network::rabbitmq_silent),
    anytime!("postgresql connections cut", network::postgresql_cut),
    anytime!("postgresql slow", network::postgresql_slow),
    anytime!("postgresql silent", network::postgresql_silent),
    at!("died: StoredNotAcked", Worker, StoredNotAcked),
    at!("died: AckedNotCalled", Worker, AckedNotCalled),
    at!("died: CalledNotStored", Worker, CalledNotStored),
    at!("died: SessionStored", Worker, SessionStored),
    at!("died: PolledNotStored", Worker, PolledNotStored),
    at!("died: StoredNotPublished", Worker, StoredNotPublished),
    at!("died: PublishedNotMarked", Worker, PublishedNotMarked),
    at!("died: TurnTaken", Worker, TurnTaken),
    at!("died: LookedNotJudged", Worker, LookedNotJudged),
    at!("died: DeadLetteredNotAcked", Worker, DeadLetteredNotAcked),
    at!("died: DeadLetterStoredNotAcked", Worker, DeadLetterStoredNotAcked),
    at!("died: ClaimedNotStepped", Scheduler, ClaimedNotStepped),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_crash_point_and_no_name_twice() {
        let names: BTreeSet<_> = TROUBLES.iter().map(|trouble| trouble.name).collect();
        assert_eq!(names.len(), TROUBLES.len());
        let points = TROUBLES.iter().filter_map(|trouble| match trouble.how {
            How::At(_, point) => Some(point),
            How::Anytime(_) | How::Stored(_) => None,
        });
        let points: BTreeSet<&str> = points.map(Point::as_str).collect();
        // A user's turn comes a minute after a fulfilment, and no cycle waits for it: the simulation dies there.
        let later = [Point::UserTurnTaken, Point::UserLookedNotSettled, Point::OfferedNotStepped];
        let all = Point::ALL.iter().filter(|point| !later.contains(point));
        let all: BTreeSet<&str> = all.map(|point| point.as_str()).collect();
        assert_eq!(points, all);
    }
}
