//! Teeth: every planted bug must be found.

use std::process::ExitCode;

use clawback_domain::planted::Bug;
use serde_json::json;

use crate::{
    checks::promise,
    options::Options,
    parallel::each,
    run::{Plan, run},
};

/// Where a bug was found, and what the checker said.
struct Found {
    seed: u64,
    violation: String,
}

pub fn look_for_all(options: &Options) -> ExitCode {
    if cfg!(not(feature = "rehearsal")) {
        eprintln!("this build has no planted bugs: build it with the feature `rehearsal`, as tests/simulate does");
        return ExitCode::from(2);
    }
    let bugs: Vec<Bug> = Bug::ALL.iter().copied().filter(|bug| options.bug.is_none_or(|only| only == *bug)).collect();
    let found = each(bugs, |bug| {
        let found = look_for(*bug, options);
        match &found {
            Some(Found { seed, violation }) => eprintln!("{bug} is found at seed {seed}: {violation}"),
            None => eprintln!("{bug} SURVIVES {} seeds", options.seeds),
        }
        (*bug, found)
    });
    let line = |(bug, found): &(Bug, Option<Found>)| {
        let (seed, violation) = (found.as_ref().map(|found| found.seed), found.as_ref().map(|found| &found.violation));
        json!({ "name": bug, "found_at_seed": seed, "violation": violation })
    };
    println!("{}", json!({ "planted": found.iter().map(line).collect::<Vec<_>>() }));
    let survives = found.iter().any(|(_, found)| found.is_none());
    if survives { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The first seed that finds the bug, and finds nothing without it.
fn look_for(bug: Bug, options: &Options) -> Option<Found> {
    (options.from..options.from + options.seeds).find_map(|seed| {
        let plan = Plan { seed, commands: options.commands, bug: Some(bug), ..Plan::default() };
        let violation = run(&plan).violations.into_iter().find(|violation| betrayed(bug).contains(&promise(violation)))?;
        let innocent = run(&Plan { bug: None, ..plan }).violations.is_empty();
        innocent.then_some(Found { seed, violation })
    })
}

/// The promises that a bug may be seen to break.
fn betrayed(bug: Bug) -> &'static [&'static str] {
    const BOUGHT: &[&str] = &["never buy twice", "every end is true", "lose nothing"];
    const SOLD: &[&str] = &["never sell twice", "every end is true", "lose nothing"];
    const LOST: &[&str] = &["lose nothing", "nothing waits for ever"];
    const SAID: &[&str] = &["say everything", "exactly one end"];
    const TRUE: &[&str] = &["every end is true", "nothing waits for ever"];
    const WARNED: &[&str] = &["nobody is forgotten", "nothing waits for ever"];
    const ONCE: &[&str] = &["warn once"];
    const TRULY: &[&str] = &["warn truly", "warn once"];
    const HELD: &[&str] = &["guards hold"];
    match bug {
        Bug::CallBeforeCommit
        | Bug::UnknownIsNeverSent
        | Bug::ResetIsNeverSent
        | Bug::MatchedByKey
        | Bug::RepeatCallsAgain
        | Bug::ActsThoughLost
        | Bug::UnknownIsCommitted
        | Bug::SendByIgnored => BOUGHT,
        Bug::AckBeforeCommit
        | Bug::UnknownIsStored
        | Bug::SessionDropped
        | Bug::DueForgotten
        | Bug::NeverStepped
        | Bug::RejectedUnconfirmed => LOST,
        Bug::OvertakenIsSilent
        | Bug::EventBeforeCommit
        | Bug::UnconfirmedIsSent
        | Bug::UnsentForgotten
        | Bug::NeverMarked
        | Bug::RepeatedUnderNewId => SAID,
        Bug::PausesIgnored | Bug::ExpiryIgnored => HELD,
        Bug::OneLookEnough
        | Bug::NotFoundIsProof
        | Bug::EvidenceForgotten
        | Bug::SinceIgnored
        | Bug::ExplainedByIdAlone
        | Bug::RivalsForgotten
        | Bug::CaseReadFirst
        | Bug::RulingsNotSerialised => TRUE,
        Bug::SaleUnknownIsNeverSent
        | Bug::SaleUnknownFails
        | Bug::SalesBySet
        | Bug::SaleWindowIgnored
        | Bug::SuspiciousIgnored
        | Bug::SaleLagIgnored
        | Bug::OtherSalesForgotten
        | Bug::UnshownCopiesIgnored
        | Bug::HoldersForgotten
        | Bug::NotFoundIsSold
        | Bug::SoldPullSoldAgain
        | Bug::SalesOverlap
        | Bug::PullNotMarked => SOLD,
        Bug::GoneAtOneLook | Bug::UserNeverDue | Bug::UsersNeverStepped | Bug::UnreadForgotten => WARNED,
        Bug::TurnsOverlap | Bug::ClosedAgain => ONCE,
        Bug::SoldIsWarnedOf | Bug::UnseenIsWarnedOf | Bug::StaleIsVerified | Bug::OptOutIgnored => TRULY,
    }
}
