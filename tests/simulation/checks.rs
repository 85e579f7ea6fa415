//! Checkers that look at every commit, every call and every published event as it happens; [`rest`](crate::rest) asks what only the
//! whole can tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use clawback_broker::Message;
use clawback_domain::{
    AttemptToken, EventId, ItemId, OrderId, PartnerId, PullId, PurchaseId, SessionId, Time, UserId,
    answer::Answer,
    clock::after,
    command::Target,
    event::Event,
    order::{AnyOrder, Attempt, StateName},
    pause::{CommandKind, Pause},
    purchase::{Purchase, State},
    sellback::{self, PullPlace, Sellback},
};
use clawback_store::{
    Store,
    memory::{Committed, Memory},
};
use futures_util::FutureExt;
use parking_lot::Mutex;

use crate::{
    doors::MOST_OFFSET,
    executor::{Process, mixed},
    warned::{Looks, Shown, told_of},
};

/// What went wrong, beginning with the promise.
pub type Violation = String;

/// The promise: a violation's text up to the colon.
pub fn promise(violation: &Violation) -> &str {
    violation.split(':').next().unwrap_or_default()
}

/// Sees everything. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
pub struct Seen {
    pub violations: Vec<Violation>,
    /// A hash of everything seen, in order: two runs of a seed must agree on it.
    pub digest: u64,
    pub commits: u64,
    /// Whose commit comes next.
    committing: Process,
    finals: BTreeMap<PurchaseId, EventId>,
    /// Sellbacks that were published.
    pub sellbacks: BTreeSet<OrderId>,
    /// What its owner parted with otherwise.
    pub parted: BTreeSet<(PartnerId, ItemId)>,
    /// What was ever asked to be sold.
    pub for_sale: BTreeSet<(PartnerId, ItemId)>,
    /// Which item each pull is.
    items: BTreeMap<PullId, ItemId>,
    /// Pulls that are sold, as far as commits told.
    sold: BTreeSet<PullId>,
    /// What looks showed.
    pub looks: Looks,
    /// Users who wanted no warnings before they bought anything.
    pub opted_out: BTreeSet<(PartnerId, UserId)>,
    /// Final, or in review.
    pub resting: BTreeSet<PurchaseId>,
    /// Events that are stored and not marked sent.
    pub unsent: BTreeSet<EventId>,
    /// Attempts that surely did nothing, by what they brought.
    harmless: BTreeSet<AttemptToken>,
    /// The last attempt of each purchase.
    last: BTreeMap<PurchaseId, AttemptToken>,
    /// Purchases that a person had called again.
    retried: BTreeSet<PurchaseId>,
    /// Purchases that were called again on a careless person's word: whatever is bought twice is theirs to answer for.
    pub careless: BTreeSet<PurchaseId>,
    /// Sessions that reached a process which lives on, by the reference of their call.
    pub sessions: BTreeMap<String, (Process, SessionId)>,
    /// Calls of `buy/init` and `buyback` that have not come back to whoever made them: it waits, or it died or panicked over them.
    pub calling: BTreeSet<String>,
    /// With which commit a purchase came to a session.
    pub told_at: BTreeMap<PurchaseId, u64>,
    /// With which commit a purchase was given items by inference.
    pub recovered_at: BTreeMap<PurchaseId, u64>,
    /// Whose attempts they are, of processes that live on.
    pub owners: BTreeMap<AttemptToken, Process>,
    dead: BTreeSet<Process>,
    /// Since when a process knows that a partner is paused.
    paused: BTreeMap<(Process, PartnerId), Time>,
}

impl Watch {
    /// Looks at what is seen.
    pub fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.0.lock())
    }

    pub fn commits_for(&self, process: Process) {
        self.0.lock().committing = process;
    }

    pub fn saw(&self, committed: &Committed) -> Process {
        let mut seen = self.0.lock();
        seen.commits += 1;
        seen.digest = mixed(seen.digest, fingerprint(committed));
        match committed {
            Committed::Order { before, after, attempt, event, pulls } => {
                seen.items.extend(pulls.iter().map(|pull| (pull.id, pull.item.item_id.clone())));
                let event = event.as_ref().map(|event| event.id);
                seen.unsent.extend(event);
                let owner = seen.committing;
                // What is on its way to the store outlives its process.
                if !seen.dead.contains(&owner) {
                    seen.owners.extend(attempt.map(|attempt| (attempt.token, owner)));
                }
                seen.order(before.as_ref(), after, attempt.as_ref(), event);
                seen.sale(before.as_ref(), after);
            }
            Committed::Fact { fact, .. } => {
                if matches!(fact.answer, Answer::Unauthorized { .. } | Answer::Busy { .. } | Answer::NeverSent { .. }) {
                    seen.harmless.insert(fact.token);
                }
            }
            Committed::Sent(sent) => drop(seen.unsent.remove(&sent.event)),
            Committed::Buried { event, .. } => drop(seen.unsent.insert(event.id)),
            Committed::Settled { events, .. } => seen.settled(events),
        }
        seen.committing
    }

    /// A process is about to publish an event: its commit must stand, and what goes out is what was stored.
    pub fn publishes(&self, store: &Memory, message: &Message) {
        let id = message.properties.message_id.as_deref().unwrap_or_default();
        let stored = id.parse().ok().and_then(|id| store.event(id).now_or_never()).and_then(Result::ok).flatten();
        if stored.is_none_or(|stored| stored.event.body.as_bytes() != &message.body[..]) {
            let told = &message.routing_key;
            self.0.lock().violations.push(format!("say everything: {told} {id} goes out and is not stored"));
        }
    }

    /// A person is about to have something called again that was bought.
    pub fn is_careless(&self, id: PurchaseId) {
        self.0.lock().careless.insert(id);
    }

    /// A partner publishes a sellback.
    pub fn is_to_be_sold(&self, id: OrderId, partner: &PartnerId, item: &ItemId) {
        let mut seen = self.0.lock();
        seen.sellbacks.insert(id);
        seen.for_sale.insert((partner.clone(), item.clone()));
    }

    /// What a look of a user showed.
    pub fn looked(&self, partner: &PartnerId, user: &UserId, shown: Shown) {
        self.0.lock().looks.entry((partner.clone(), user.clone())).or_default().push(shown);
    }

    /// A user wants no warnings, before there was anything to be warned of.
    pub fn opts_out(&self, partner: &PartnerId, user: &UserId) {
        self.0.lock().opted_out.insert((partner.clone(), user.clone()));
    }

    pub fn has_parted(&self, partner: &PartnerId, item: &ItemId) {
        self.0.lock().parted.insert((partner.clone(), item.clone()));
    }

    /// A process calls `buy/init` or `buyback`.
    pub fn calls(&self, reference: &str) {
        self.0.lock().calling.insert(reference.to_owned());
    }

    /// What it brought has reached the process that called.
    pub fn answered(&self, process: Process, reference: &str, answer: &Answer) {
        self.0.lock().calling.remove(reference);
        if let Answer::Done { session, .. } = answer {
            self.0.lock().sessions.insert(reference.to_owned(), (process, session.clone()));
        }
    }

    /// A process learnt which pauses there are.
    pub fn knows_pauses(&self, process: Process, pauses: &[Pause], partners: &[PartnerId], now: Time) {
        let mut seen = self.0.lock();
        for partner in partners {
            let key = (process, partner.clone());
            match pauses.iter().any(|pause| pause.scope.stops_partner(partner, CommandKind::Purchase)) {
                true => drop(seen.paused.entry(key).or_insert(now)),
                false => drop(seen.paused.remove(&key)),
            }
        }
    }

    /// With a process goes what only it knew.
    pub fn died(&self, process: Process) {
        let mut seen = self.0.lock();
        seen.sessions.retain(|_, (holder, _)| *holder != process);
        seen.paused.retain(|(who, _), _| *who != process);
        seen.owners.retain(|_, owner| *owner != process);
        seen.dead.insert(process);
    }
}

impl Seen {
    /// What an automatic sale is about to sell, and what is sold.
    fn sale(&mut self, before: Option<&AnyOrder>, after: &AnyOrder) {
        let Some(sellback) = after.sellback() else { return };
        if let (None, Target::Pull(pull)) = (before, &sellback.command.target)
            && let Some(item) = self.items.get(pull)
        {
            self.for_sale.insert((sellback.partner.clone(), item.clone()));
        }
        self.sold.extend(sellback.state.sold().and_then(|sold| sold.pull).map(PullPlace::id));
    }

    /// A user's turn stands: nothing that is sold is warned of.
    fn settled(&mut self, events: &[Event]) {
        for event in events {
            self.unsent.insert(event.id);
            for pull in told_of(event).into_iter().filter(|pull| self.sold.contains(pull)) {
                self.violations.push(format!("warn truly: {} tells of pull {pull}, which is sold", event.id));
            }
        }
    }

    /// What is broken already need not come to rest.
    pub fn is_broken(&self) -> bool {
        !self.violations.is_empty()
    }

    fn order(&mut self, before: Option<&AnyOrder>, after: &AnyOrder, attempt: Option<&Attempt>, event: Option<EventId>) {
        match after.state().is_announced() {
            true => self.resting.insert(after.id()),
            false => self.resting.remove(&after.id()),
        };
        let problems = [
            rises(before, after),
            due_while_open(after),
            self.ends_once(before, after, event),
            attempt.and_then(|attempt| self.may_call(after, attempt)),
        ];
        self.violations.extend(problems.into_iter().flatten());
        match after {
            AnyOrder::Purchase(after) => self.purchase(before.and_then(AnyOrder::purchase), after),
            AnyOrder::Sellback(after) => self.sellback(before.and_then(AnyOrder::sellback), after),
        }
    }

    fn purchase(&mut self, before: Option<&Purchase>, after: &Purchase) {
        match &after.state {
            State::Fulfilled(fulfilled) if fulfilled.recovered => drop(self.recovered_at.insert(after.id, self.commits)),
            state if state.session().is_some() => drop(self.told_at.entry(after.id).or_insert(self.commits)),
            _ => {}
        }
        if let (Some(before), State::Accepted { .. }) = (before, &after.state)
            && matches!(&before.state, State::Review(review) if !review.attempt.is_some_and(|token| self.harmless.contains(&token)))
        {
            self.retried.insert(after.id);
        }
    }

    fn sellback(&mut self, before: Option<&Sellback>, after: &Sellback) {
        let was_in = |name| before.is_some_and(|before| before.state.name() == name);
        // A look showed the item where it was when nothing could come of the call any more; or a person said so.
        if matches!(after.state, sellback::State::Accepted { .. })
            && (was_in(StateName::Reconciling) || was_in(StateName::Review))
        {
            self.retried.insert(after.id);
        }
    }

    fn ends_once(&mut self, before: Option<&AnyOrder>, after: &AnyOrder, event: Option<EventId>) -> Option<Violation> {
        if before.is_some_and(|before| before.state().is_final()) {
            return Some(format!("exactly one end: {} was final and changed to {}", after.id(), after.state()));
        }
        if !after.state().is_final() {
            return None;
        }
        let Some(event) = event else { return Some(format!("say everything: {} ended without an event", after.id())) };
        self.finals.insert(after.id(), event).map(|_| format!("exactly one end: {} ended twice", after.id()))
    }

    /// Another attempt begins only when the one before surely did nothing, or a person said so; and none while paused.
    fn may_call(&mut self, after: &AnyOrder, attempt: &Attempt) -> Option<Violation> {
        let id = after.id();
        let known = self.paused.get(&(self.committing, after.partner().clone()));
        if known.is_some_and(|since| attempt.started_at > self::after(*since, MOST_OFFSET + Duration::from_millis(100))) {
            return Some(format!("guards hold: {id} is called by a process that knows of the pause"));
        }
        if after.not_after().is_some_and(|end| attempt.started_at >= end) {
            return Some(format!("guards hold: {id} is called after its not_after"));
        }
        let previous = self.last.insert(id, attempt.token)?;
        let safe = self.harmless.contains(&previous) || self.retried.contains(&id);
        let promise = match after.kind() {
            CommandKind::Purchase => "never buy twice",
            CommandKind::Sellback => "never sell twice",
        };
        (!safe).then(|| format!("{promise}: attempt {} of {id} begins in doubt", attempt.number))
    }
}

fn rises(before: Option<&AnyOrder>, after: &AnyOrder) -> Option<Violation> {
    let before = before?;
    let rises = after.version() == before.version() + 1 && after.sequence() >= before.sequence();
    (!rises).then(|| format!("versions rise: {} went from {} to {}", after.id(), before.version(), after.version()))
}

fn due_while_open(after: &AnyOrder) -> Option<Violation> {
    let agrees = after.due_at().is_none() == after.state().is_final();
    (!agrees).then(|| format!("lose nothing: {} is {} and due {:?}", after.id(), after.state(), after.due_at()))
}

/// A hash of all that a commit says, without the words.
fn fingerprint(committed: &Committed) -> u64 {
    match committed {
        Committed::Order { after, attempt, pulls, event, .. } => {
            let times = [after.due_at(), Some(after.updated_at()), attempt.map(|attempt| attempt.deadline)];
            let numbers = [
                after.version() as u64,
                after.state() as u64,
                u64::from(after.nudges()),
                u64::from(after.attempts()),
                after.sequence(),
                text(carries(after)),
                attempt.map_or(0, |attempt| number(attempt.token.0)),
                event.as_ref().map_or(0, |event| mixed(number(event.id.0), text(&event.body))),
            ];
            let times = times.into_iter().map(|time| time.map_or(0, |time| time.timestamp_micros() as u64));
            let pulls = pulls.iter().map(|pull| text(pull.item.item_id.as_str()));
            numbers.into_iter().chain(times).chain(pulls).fold(number(after.id().0), mixed)
        }
        Committed::Fact { order, fact } => {
            let brought = match &fact.answer {
                Answer::Done { session, .. } => text(session.as_str()),
                other => text(other.name()),
            };
            [number(fact.token.0), brought, fact.at.timestamp_micros() as u64].into_iter().fold(number(order.0), mixed)
        }
        Committed::Sent(sent) => mixed(number(sent.event.0), sent.at.timestamp_micros() as u64),
        Committed::Settled { user, events } => {
            let due = user.due_at.map_or(0, |due| due.timestamp_micros() as u64);
            let events = events.iter().map(|event| mixed(number(event.id.0), text(&event.body)));
            [text(user.id.as_str()), user.version as u64, due].into_iter().chain(events).fold(0, mixed)
        }
        Committed::Buried { letter, event } => mixed(number(letter.id.0), number(event.id.0)),
    }
}

fn number(id: uuid::Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    high ^ low.rotate_left(32)
}

fn text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A commit as a line of the trace.
pub fn told(committed: &Committed) -> String {
    match committed {
        Committed::Order { before, after, attempt, pulls, event } => {
            let from = before.as_ref().map_or("nothing", |before| before.state().as_str());
            let due = after.due_at().map_or("never".into(), |due| due.format("%H:%M:%S%.3f").to_string());
            let attempt = attempt.map_or(String::new(), |attempt| format!(", attempt {}", attempt.number));
            let event = event.as_ref().map_or(String::new(), |event| format!(", {}", event.kind));
            let items: String = pulls.iter().map(|pull| format!(", item {}", pull.item.item_id)).collect();
            let why = doubt(after).map_or(String::new(), |why| format!(", {why}"));
            format!("{} v{} {from} -> {}, due {due}{attempt}{event}{items}{why}", after.id(), after.version(), after.state())
        }
        Committed::Fact { order, fact } => format!("{order} fact: {}", fact.answer.name()),
        Committed::Sent(sent) => format!("event {} sent", sent.event),
        Committed::Settled { user, events } => {
            let due = user.due_at.map_or("never".into(), |due| due.format("%H:%M:%S%.3f").to_string());
            let events: String = events.iter().map(|event| format!(", {} of {:?}", event.kind, told_of(event))).collect();
            format!("{} of {} v{}, due {due}{events}", user.id, user.partner, user.version)
        }
        Committed::Buried { letter, .. } => format!("dead letter {} ({})", letter.id, letter.reason),
    }
}

/// A session, or what is being sold.
fn carries(order: &AnyOrder) -> &str {
    match order {
        AnyOrder::Purchase(purchase) => purchase.state.session().map_or("", |session| session.as_str()),
        AnyOrder::Sellback(sellback) => sellback.state.sale().map_or("", |sale| sale.item_id.as_str()),
    }
}

/// What it waits for, or what the last look came to.
fn doubt(order: &AnyOrder) -> Option<&str> {
    if let Some(waiting) = order.waiting() {
        return Some(&waiting.message);
    }
    let purchase = match order {
        AnyOrder::Purchase(purchase) => purchase,
        AnyOrder::Sellback(sellback) => return sellback.state.evidence().map(|evidence| evidence.verdict.as_str()),
    };
    let evidence = match &purchase.state {
        State::Reconciling(doubt) => doubt.evidence.as_deref(),
        State::Review(review) => review.evidence.as_deref(),
        State::Fulfilled(fulfilled) => fulfilled.evidence.as_deref(),
        State::Failed { evidence, .. } => evidence.as_deref(),
        State::Accepted { .. } | State::Initiating(_) | State::Pending(_) => None,
    };
    evidence.map(|evidence| evidence.verdict.as_str())
}
