//! What only the whole can tell, once the system is at rest or should be: held against the upstream's own ledger.

use std::collections::{BTreeMap, BTreeSet};

use clawback_domain::{
    PackId, PartnerId, PurchaseId, SessionId, UserId,
    answer::Answer,
    clock::after,
    purchase::{Purchase, Review, State, StateName},
    reason::ReviewCode,
};
use clawback_sandbox::ledger::LedgerPurchase;
use clawback_store::{DeadLetter, memory::Snapshot};

use crate::{
    checks::{Seen, Violation},
    customers::BEFORE,
    doors::MOST_OFFSET,
    hooks::hooks,
    sales::sales,
    warned::warnings,
    workload::Ordered,
    world::World,
};

/// What was bought through us.
pub fn bought_by_us(world: &World) -> Vec<LedgerPurchase> {
    let mut ledger = world.engine().lock().ledger().purchases;
    ledger.retain(|bought| bought.client_ref.as_deref() != Some(BEFORE));
    ledger
}

/// The purchase that a call was made for.
pub fn purchase_of(bought: &LedgerPurchase) -> PurchaseId {
    let reference = bought.client_ref.as_deref().expect("every call of ours has a reference");
    let (id, _) = reference.rsplit_once('.').expect("<purchase_id>.<attempt>");
    id.parse().expect("a purchase id")
}

/// One event as it reached its partner's queue for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub routing_key: String,
    pub message_id: String,
    pub request: Option<(PartnerId, String)>,
}

/// Everything there is to judge by.
pub struct Whole<'a> {
    pub world: &'a World,
    pub snapshot: &'a Snapshot,
    pub ordered: &'a Ordered,
    pub ledger: &'a [LedgerPurchase],
    /// In order of arrival.
    pub told: &'a [Told],
    pub seen: &'a Seen,
}

type Bought<'a> = BTreeMap<PurchaseId, Vec<&'a LedgerPurchase>>;

impl Whole<'_> {
    pub fn bought(&self) -> Bought<'_> {
        let mut bought = Bought::new();
        for one in self.ledger {
            bought.entry(purchase_of(one)).or_default().push(one);
        }
        bought
    }

    pub fn violations(&self) -> Vec<Violation> {
        let bought = self.bought();
        [
            self.every_command(&bought),
            self.nothing_else(&bought),
            self.items(&bought),
            self.in_time(),
            self.sessions(),
            self.answers(),
            self.events(),
            self.letters(),
            sales(self),
            hooks(self),
            warnings(self),
            folds(self.snapshot),
        ]
        .concat()
    }

    fn every_command(&self, bought: &Bought<'_>) -> Vec<Violation> {
        let rows: BTreeMap<_, _> = self.snapshot.purchases().map(|row| (row.id, row)).collect();
        let check = |id: &PurchaseId| match rows.get(id) {
            None => Some(format!("lose nothing: {id} was published and has no row")),
            Some(row) if self.seen.careless.contains(id) => ended(row),
            Some(row) => truth(row, bought.get(id).map_or(0, Vec::len), self.snapshot),
        };
        self.ordered.commands.keys().filter_map(check).collect()
    }

    fn nothing_else(&self, bought: &Bought<'_>) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (id, calls) in bought {
            if calls.len() > 1 + usize::from(self.seen.careless.contains(id)) {
                violations.push(format!("never buy twice: {id} was bought {} times", calls.len()));
            }
            if !self.ordered.commands.contains_key(id) {
                violations.push(format!("never buy twice: {id} was bought without a command"));
            }
        }
        violations
    }

    /// What is recorded is what was bought. Of purchases in doubt that nothing tells apart each may have another's, unless that one had
    /// a session already; and no item is given to two of them.
    fn items(&self, bought: &Bought<'_>) -> Vec<Violation> {
        let mut recorded = BTreeMap::<PurchaseId, Vec<&str>>::new();
        for pull in &self.snapshot.pulls {
            recorded.entry(pull.purchase).or_default().push(pull.item.item_id.as_str());
        }
        let doubted = self.doubted();
        let mut alike = BTreeMap::<_, Vec<(PurchaseId, &str)>>::new();
        for row in self.snapshot.purchases() {
            alike.entry(kind(row)).or_default().extend(items(bought, row.id).map(|item| (row.id, item)));
        }
        let careful = self.snapshot.purchases().filter(|row| !self.seen.careless.contains(&row.id));
        let mut violations = Vec::new();
        let mut of_others = Vec::new();
        for row in careful {
            let State::Fulfilled(fulfilled) = &row.state else { continue };
            let ours = recorded.remove(&row.id).unwrap_or_default();
            match alike.get_mut(&kind(row)).filter(|_| fulfilled.recovered) {
                Some(theirs) => {
                    let left = ours.into_iter().filter(|item| !take(theirs, |one| *one == (row.id, item)));
                    of_others.extend(left.map(|item| (row, item)));
                }
                None if sorted(ours.clone()) == sorted(items(bought, row.id).collect()) => {}
                None => {
                    let theirs: Vec<_> = items(bought, row.id).collect();
                    violations.push(format!("every end is true: {} has the items {ours:?}, bought were {theirs:?}", row.id));
                }
            }
        }
        for (row, item) in of_others {
            let untold = |owner: &PurchaseId| match (self.seen.told_at.get(owner), self.seen.recovered_at.get(&row.id)) {
                (Some(told), Some(recovered)) => told > recovered,
                _ => true,
            };
            let calls = |owner: &PurchaseId| {
                let owner = *owner;
                self.snapshot.attempts.iter().filter(move |record| record.order == owner)
            };
            let is_overdue = |owner: &PurchaseId| calls(owner).all(|record| record.attempt.deadline <= row.updated_at);
            let in_doubt = |owner: &PurchaseId| untold(owner) && (doubted.contains(owner) || is_overdue(owner));
            let theirs = alike.entry(kind(row)).or_default();
            if !take(theirs, |(owner, one)| *one == item && in_doubt(owner)) {
                violations.push(format!("every end is true: {} has {item}, which is another's", row.id));
            }
        }
        violations
    }

    /// Purchases that were in doubt at some time.
    fn doubted(&self) -> BTreeSet<PurchaseId> {
        let doubtful = |to| matches!(to, StateName::Reconciling | StateName::Review);
        self.snapshot.entries.iter().filter(|entry| doubtful(entry.to)).map(|entry| entry.order).collect()
    }

    /// After its deadline an attempt has no effect any more: others judge it from then on.
    fn in_time(&self) -> Vec<Violation> {
        let attempts: BTreeMap<_, _> = self
            .snapshot
            .attempts
            .iter()
            .map(|record| (format!("{}.{}", record.order, record.attempt.number), record))
            .collect();
        let late = |bought: &LedgerPurchase| {
            let reference = bought.client_ref.as_deref()?;
            let record = attempts.get(reference)?;
            let at = self.world.by_our_clock(bought.purchased_at);
            (at > after(record.attempt.deadline, MOST_OFFSET))
                .then(|| format!("never buy twice: {reference} bought at {at}, after its deadline {}", record.attempt.deadline))
        };
        self.ledger.iter().filter_map(late).collect()
    }

    /// A session that reached a process which lives on is stored.
    fn sessions(&self) -> Vec<Violation> {
        let facts = self.snapshot.attempts.iter().filter_map(|record| record.fact.as_ref());
        let stored: BTreeSet<_> = facts.filter_map(|fact| session(&fact.answer)).collect();
        let lost = self.seen.sessions.iter().filter(|(_, (_, session))| !stored.contains(session));
        lost.map(|(reference, _)| format!("lose nothing: the session of {reference} was known and is not stored")).collect()
    }

    /// Whoever began an attempt and lives on has written what it came to.
    fn answers(&self) -> Vec<Violation> {
        let silent = self.snapshot.attempts.iter().filter(|record| {
            record.fact.is_none()
                && !self.seen.calling.contains(&format!("{}.{}", record.order, record.attempt.number))
                && self.seen.owners.contains_key(&record.attempt.token)
        });
        silent
            .map(|record| {
                let (number, id) = (record.attempt.number, record.order);
                format!("say everything: attempt {number} of {id} has no answer, and its owner lives on")
            })
            .collect()
    }

    fn events(&self) -> Vec<Violation> {
        let told: BTreeSet<_> = self.told.iter().map(|told| told.message_id.as_str()).collect();
        let mut violations = Vec::new();
        for stored in &self.snapshot.events {
            let id = stored.event.id.to_string();
            if stored.sent_at.is_none() {
                violations.push(format!("say everything: event {id} was never sent"));
            } else if !told.contains(id.as_str()) {
                violations.push(format!("say everything: event {id} is marked sent and nobody got it"));
            }
        }
        violations.extend(self.one_end());
        violations
    }

    /// Partners are told one end of each command, under one id, and nothing after it for the first time.
    fn one_end(&self) -> Vec<Violation> {
        let mut ends = BTreeMap::<_, &str>::new();
        let mut violations = Vec::new();
        for told in self.told {
            let kind = told.routing_key.split_once('.').map_or("", |(_, kind)| kind);
            let Some((_, request)) = &told.request else { continue };
            if !kind.starts_with("purchase.") && !kind.starts_with("sellback.") {
                continue;
            }
            match ends.get(&told.request) {
                Some(id) if *id != told.message_id => {
                    violations.push(format!("exactly one end: {kind} of {request} came after its end"));
                }
                Some(_) => {}
                None if kind.ends_with(".review") => {}
                None => drop(ends.insert(&told.request, &told.message_id)),
            }
        }
        violations
    }

    /// What cannot be taken is kept with its reason; nothing else is.
    fn letters(&self) -> Vec<Violation> {
        let expected = self.ordered.broken.len() + self.ordered.conflicts.len();
        let kept = self.snapshot.dead_letters.iter().filter(|letter| !panicked(letter)).count();
        let differ = kept != expected;
        differ
            .then(|| format!("lose nothing: {expected} messages could not be taken, {kept} dead letters are kept"))
            .into_iter()
            .collect()
    }
}

/// Its handler panicked before there was a row; it is kept, and nothing was called.
pub fn panicked(letter: &DeadLetter) -> bool {
    letter.problems.contains("its handler panicked")
}

/// Every end is true, and a review is one that nobody could have known better.
fn truth(row: &Purchase, bought: usize, snapshot: &Snapshot) -> Option<Violation> {
    match (&row.state, bought) {
        (State::Fulfilled(_), 1) | (State::Failed { .. }, 0) => None,
        (State::Fulfilled(_), _) => Some(format!("every end is true: {} is fulfilled and bought {bought} times", row.id)),
        (State::Failed { failure, .. }, _) => {
            Some(format!("every end is true: {} failed ({}) and was bought", row.id, failure.code))
        }
        (State::Review(review), _) => (!is_true(row, review, snapshot)).then(|| {
            let brought = brought(row, snapshot).map_or("nothing", Answer::name);
            let Review { code, message, .. } = review;
            format!("only true reviews: {} is in review ({code}; its attempt brought {brought}): {message}", row.id)
        }),
        (State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Reconciling(_), _) => ended(row),
    }
}

fn ended(row: &Purchase) -> Option<Violation> {
    let rests = matches!(row.state.name(), StateName::Fulfilled | StateName::Failed | StateName::Review);
    (!rests).then(|| format!("nothing waits for ever: {} is still {}, due {:?}", row.id, row.state.name(), row.due_at))
}

/// Whether every review is one that is left to people: one that a stored answer settles is looked at again within the hour.
pub fn is_at_rest(snapshot: &Snapshot) -> bool {
    snapshot.purchases().all(|row| match &row.state {
        State::Review(review) => is_true(row, review, snapshot),
        state => state.name().is_final(),
    })
}

/// Whether nobody could have known better.
fn is_true(row: &Purchase, review: &Review, snapshot: &Snapshot) -> bool {
    let unanswered = || brought(row, snapshot).is_none_or(|answer| matches!(answer, Answer::Unknown { .. }));
    match review.code {
        ReviewCode::UnknownOutcome | ReviewCode::Ambiguous | ReviewCode::PartialItems => unanswered(),
        // Where the upstream says that it failed and items that nobody explains are there, a person decides.
        ReviewCode::ItemMismatch => review.cancelled || unanswered(),
        ReviewCode::StillPending => review.cancelled,
    }
}

/// What nothing tells apart.
fn kind(row: &Purchase) -> (&PartnerId, &UserId, &PackId, u32) {
    (&row.partner, &row.command.user_id, &row.command.pack_id, row.command.amount)
}

fn items<'a>(bought: &'a Bought<'a>, id: PurchaseId) -> impl Iterator<Item = &'a str> {
    bought.get(&id).into_iter().flatten().flat_map(|one| &one.items).map(|item| item.item_id.as_str())
}

fn sorted(mut items: Vec<&str>) -> Vec<&str> {
    items.sort_unstable();
    items
}

/// Takes one that is `wanted`; `false` when there is none.
fn take<T>(from: &mut Vec<T>, wanted: impl Fn(&T) -> bool) -> bool {
    from.iter().position(wanted).map(|place| from.swap_remove(place)).is_some()
}

fn session(answer: &Answer) -> Option<&SessionId> {
    match answer {
        Answer::Done { session, .. } => Some(session),
        Answer::Sold { .. }
        | Answer::Refused { .. }
        | Answer::Unauthorized { .. }
        | Answer::Busy { .. }
        | Answer::NeverSent { .. }
        | Answer::Unknown { .. } => None,
    }
}

/// The answer of a purchase's last attempt.
pub fn brought<'a>(row: &Purchase, snapshot: &'a Snapshot) -> Option<&'a Answer> {
    let mut attempts = snapshot.attempts.iter().filter(|record| record.order == row.id);
    Some(&attempts.next_back()?.fact.as_ref()?.answer)
}

/// The stored timeline tells how each row came to its state, without a gap.
fn folds(snapshot: &Snapshot) -> Vec<Violation> {
    let mut told = BTreeMap::<PurchaseId, StateName>::new();
    let mut violations = Vec::new();
    for entry in &snapshot.entries {
        let before = told.insert(entry.order, entry.to);
        if before != entry.from {
            let (id, version) = (entry.order, entry.version);
            violations.push(format!("say everything: {id} has a gap in its timeline at version {version}"));
        }
    }
    for row in &snapshot.orders {
        if told.get(&row.id()) != Some(&row.state()) {
            violations.push(format!("say everything: the timeline of {} does not lead to {}", row.id(), row.state()));
        }
    }
    violations
}
