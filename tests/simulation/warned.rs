//! Warnings: what went out, held against what users had and what the upstream showed.
//!
//! Nobody is forgotten: what is *kept* all the time (nobody sold it, shipped it or asked for its sale) has a warning at each lead time
//! that came once all had healed, and is told to have closed. Before that a warning may be late, or give way to a nearer one. Nothing is
//! told twice, nothing of what is sold, and nothing as verified that no look showed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clawback_domain::{
    ItemId, PartnerId, PullId, Time, UserId,
    clock::{after, until},
    event::{CloudEvent, Event, EventType, ExpiredData, ExpiringData},
    item::{Expiry, GONE_AFTER, Pull},
    warning::{FRESH, Leads, RowState, SaleRule, Skipped, WarningRules},
};
use clawback_store::{Warning, memory::Snapshot};

use crate::{
    checks::{Seen, Violation},
    doors::MOST_OFFSET,
    rest::Whole,
    workload,
    world::{World, epoch},
};

/// Windows are so short that a run sees them shut, some of them only when all has been well for a while.
pub fn windows(heals_at: Duration) -> (Duration, Duration) {
    (Duration::from_secs(240), heals_at + Duration::from_secs(1080))
}

/// Beyond the faults a user may be unknown to the upstream, and steps be on their way.
const CLEAR: Duration = Duration::from_secs(560);

pub fn rules(world: &World) -> WarningRules {
    let leads = Leads::new(&[480, 180, 60].map(Duration::from_secs)).expect("they are lead times");
    let digest = world.chance().span("digest", Duration::ZERO, Duration::from_secs(60));
    WarningRules::new(leads, digest, None).expect("they are rules")
}

/// In half of the runs the second partner sells what is about to expire.
pub fn sale(world: &World) -> Option<SaleRule> {
    let span = |seconds| Duration::from_secs(seconds);
    let least = Some(world.chance().below("least share", 1_000_000) as u32);
    (world.chance().below("automatic sales", 2) == 0)
        .then(|| SaleRule::new(span(150), span(30), least, None).expect("it is a rule"))
}

pub fn seller() -> PartnerId {
    workload::partners().remove(1)
}

/// What one inventory showed, and when it was asked for.
#[derive(Debug, Clone)]
pub struct Shown {
    pub at: Time,
    pub items: BTreeSet<ItemId>,
}

/// By partner and user, in order of time.
pub type Looks = BTreeMap<(PartnerId, UserId), Vec<Shown>>;

/// Whether nothing is planned any more, and whoever is due is so only for what never appeared.
pub fn is_calm(snapshot: &Snapshot, now: Time) -> bool {
    let planned = snapshot.warnings.iter().any(|warning| warning.row.is_planned());
    let soon = after(now, Duration::from_secs(180));
    !planned && snapshot.users.iter().all(|user| user.due_at.is_none_or(|due| due > soon))
}

/// The pulls that an event tells of.
pub fn told_of(event: &Event) -> Vec<PullId> {
    match event.kind {
        EventType::BuybackExpiring => expiring(event).items.iter().map(|item| item.pull_id).collect(),
        EventType::BuybackExpired => expired(event).items.iter().map(|item| item.pull_id).collect(),
        _ => Vec::new(),
    }
}

fn expiring(event: &Event) -> ExpiringData<'_> {
    let event: CloudEvent<'_, ExpiringData<'_>> = serde_json::from_str(&event.body).expect("an event reads back");
    event.data
}

fn expired(event: &Event) -> ExpiredData<'_> {
    let event: CloudEvent<'_, ExpiredData<'_>> = serde_json::from_str(&event.body).expect("an event reads back");
    event.data
}

pub fn warnings(whole: &Whole<'_>) -> Vec<Violation> {
    let (snapshot, seen) = (whole.snapshot, whole.seen);
    let clear = after(epoch(), whole.world.heals_at() + CLEAR);
    let mut violations = Vec::new();
    let pulls: BTreeMap<PullId, &Pull> = snapshot.pulls.iter().map(|pull| (pull.id, pull)).collect();
    let (mut warned, mut closed) = (BTreeMap::<PullId, Vec<&Event>>::new(), BTreeMap::<PullId, u32>::new());
    for stored in &snapshot.events {
        let event = &stored.event;
        for pull in told_of(event) {
            match event.kind {
                EventType::BuybackExpiring => warned.entry(pull).or_default().push(event),
                _ => *closed.entry(pull).or_default() += 1,
            }
        }
        if event.kind == EventType::BuybackExpiring {
            violations.extend(verified(event, &pulls, seen));
        }
    }
    let mut rows = BTreeMap::<PullId, Vec<&Warning>>::new();
    snapshot.warnings.iter().for_each(|warning| rows.entry(warning.row.pull).or_default().push(warning));
    for pull in &snapshot.pulls {
        let rows = rows.get(&pull.id).map_or(&[][..], Vec::as_slice);
        let told = warned.get(&pull.id).map_or(&[][..], Vec::as_slice);
        violations.extend(once(pull, rows, told));
        if closed.get(&pull.id).is_some_and(|times| *times > 1) {
            violations.push(format!("warn once: pull {} is told to have closed {} times", pull.id, closed[&pull.id]));
        }
        if seen.opted_out.contains(&(pull.partner.clone(), pull.user_id.clone())) {
            if !told.is_empty() {
                violations.push(format!("warn once: {} wants no warnings and is warned of {}", pull.user_id, pull.id));
            }
        } else if is_kept(pull, seen) {
            violations.extend(nobody_is_forgotten(pull, rows, closed.contains_key(&pull.id), seen, clear));
        }
    }
    violations
}

/// Each row that is sent has its event, and each item of an event its row.
fn once(pull: &Pull, rows: &[&Warning], told: &[&Event]) -> Option<Violation> {
    let sent: BTreeSet<_> = rows.iter().filter(|row| row.row.state == RowState::Sent).map(|row| row.event).collect();
    let told: Vec<_> = told.iter().map(|event| Some(event.id)).collect();
    let (sent_rows, events) = (rows.iter().filter(|row| row.row.state == RowState::Sent).count(), told.len());
    let same = sent_rows == events && sent.len() == events && told.iter().all(|id| sent.contains(id));
    (!same).then(|| format!("warn once: pull {} has {sent_rows} warnings that are sent and is in {events} events", pull.id))
}

/// What goes out was shown by the look that it names; as verified, by one of the last minute.
fn verified(event: &Event, pulls: &BTreeMap<PullId, &Pull>, seen: &Seen) -> Vec<Violation> {
    let data = expiring(event);
    let mut violations = Vec::new();
    let nothing = Vec::new();
    let looks = seen.looks.get(&(event.partner.clone(), data.user_id.clone())).unwrap_or(&nothing);
    for item in &data.items {
        let Some(pull) = pulls.get(&item.pull_id) else {
            violations.push(format!("warn once: {} tells of pull {}, which is not known", event.id, item.pull_id));
            continue;
        };
        if item.expires_at.is_none_or(|expiry| event.time >= expiry) {
            violations.push(format!("warn once: {} tells of pull {} after its expiry", event.id, item.pull_id));
        }
        let showed = |shown: &Shown| Some(shown.at) == data.checked_at && shown.items.contains(&item.item_id);
        // What it may have been exchanged for is shown under another id.
        if !pull.sight.exchanged && !looks.iter().any(showed) {
            let (at, item) = (data.checked_at, &item.item_id);
            violations.push(format!(
                "warn truly: {} tells of pull {} ({item}), which its look at {at:?} did not show",
                event.id, pull.id
            ));
        }
        if data.verified && data.checked_at.is_none_or(|at| until(at, event.time) > FRESH) {
            violations.push(format!("warn truly: {} rests on a look of {:?}", event.id, data.checked_at));
        }
    }
    violations
}

/// Whether its user had it all the time.
fn is_kept(pull: &Pull, seen: &Seen) -> bool {
    let item = (pull.partner.clone(), pull.item.item_id.clone());
    pull.sale.is_none() && !seen.for_sale.contains(&item) && !seen.parted.contains(&item)
}

/// Whether looks told that it was gone, wrongly, for as long as it takes to be believed.
fn was_hidden(pull: &Pull, seen: &Seen) -> bool {
    let user = (pull.partner.clone(), pull.user_id.clone());
    let hidden = |shown: &&Shown| !shown.items.contains(&pull.item.item_id);
    let times: Vec<Time> = seen.looks.get(&user).into_iter().flatten().filter(hidden).map(|shown| shown.at).collect();
    match (times.first(), times.last()) {
        (Some(first), Some(last)) => until(*first, *last) + MOST_OFFSET * 2 >= GONE_AFTER,
        _ => false,
    }
}

fn nobody_is_forgotten(pull: &Pull, rows: &[&Warning], closed: bool, seen: &Seen, clear: Time) -> Vec<Violation> {
    let forgotten = |what: String| format!("nobody is forgotten: pull {} of {} {what}", pull.id, pull.user_id);
    let expiry = match pull.sight.expiry {
        Expiry::At(expiry) => expiry,
        Expiry::Never => return Vec::new(),
        Expiry::NotRead => return vec![forgotten("was never read".into())],
    };
    let read_at = pull.sight.expiry_read_at.expect("it was read");
    // What was told only when its window had shut is told to have shut.
    if read_at >= expiry && rows.is_empty() {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for warning in rows {
        let row = &warning.row;
        let moment = row.moment();
        let missed = match row.state {
            RowState::Sent if moment > clear && warning.late => Some("is warned late"),
            RowState::Sent if moment > clear && !warning.verified => Some("is warned unverified"),
            RowState::Sent => None,
            RowState::Planned => Some("has a warning that is planned for ever"),
            RowState::Skipped(Skipped::PastWhenRead) if after(read_at, MOST_OFFSET * 2) >= moment => None,
            RowState::Skipped(Skipped::Superseded | Skipped::Expired) if moment <= clear => None,
            RowState::Skipped(Skipped::Gone | Skipped::PastWhenRead | Skipped::Superseded) if was_hidden(pull, seen) => None,
            RowState::Skipped(_) => Some("is not warned"),
        };
        violations.extend(missed.map(|missed| forgotten(format!("{missed}: {:?} of {moment}", row))));
    }
    if rows.len() != 3 && expiry > clear {
        violations.push(forgotten(format!("has {} warnings", rows.len())));
    }
    if !closed && !was_hidden(pull, seen) {
        violations.push(forgotten(format!("closed at {expiry}, and nobody was told")));
    }
    violations
}
