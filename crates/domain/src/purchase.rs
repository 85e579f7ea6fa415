//! The purchase machine: what a purchase is, and the one function that says what follows when something happens to it.
//!
//! [`decide`] is pure and total: every pair of a state and an event is a transition, a harmless repeat, or illegal with its reason,
//! and no arm is a wildcard, so that a new state or event makes the compiler ask. Crash recovery calls the same function as the
//! hot path. The worker performs what comes back and decides nothing.
//!
//! The table of the states is drawn in `crates/decisions/purchase-machine.md`; a test keeps the drawing equal to this code.

use std::time::Duration;

use crate::{
    AttemptToken, OrderId, PartnerId, PublicId, SessionId, Time, TxHash,
    answer::{Answer, Fulfilment, StatusAnswer},
    clock::{after, micros},
    command::PurchaseCommand,
    evidence::{Evidence, Verdict},
    item::{HeldItem, Item},
    order::{AnyOrder, Order, REFUSED_KEY_WAIT},
    planted::{Bug, planted},
    poll::{self, JITTER},
    reason::{Failure, FailureCode, ReviewCode, WaitCode, Waiting, sentence},
    trace::TraceContext,
};

pub use crate::order::{
    Attempt, Decision, HappenedName, MARGIN, MOST_PANICS, Machine, Next, PERMIT_WAIT, Rules, SEND_WINDOW, StateName, Transition,
};

/// A command to buy, and how far it has come.
pub type Purchase = Order<PurchaseCommand, State>;

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Stored, not called.
    Accepted {
        waiting: Option<Waiting>,
    },
    /// The one-way door: until the attempt's deadline nobody but its owner touches the row.
    Initiating(Attempt),
    Pending(Pending),
    Reconciling(Reconciling),
    Review(Review),
    Fulfilled(Fulfilled),
    Failed {
        failure: Failure,
        session: Option<SessionId>,
        /// Where it was concluded from the inventory.
        evidence: Option<Box<Evidence>>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub session: SessionId,
    pub since: Time,
    pub polls: u32,
    /// The upstream says the transaction failed; a look at the inventory must agree before we do.
    pub cancelled: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reconciling {
    pub attempt: Attempt,
    /// Why the outcome is unknown.
    pub why: String,
    /// The HTTP status, where one was received.
    pub status: Option<u16>,
    pub since: Time,
    pub looks: u32,
    /// What the looks have shown so far.
    pub evidence: Option<Box<Evidence>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    pub code: ReviewCode,
    pub message: String,
    pub session: Option<SessionId>,
    /// As in [`Pending`].
    pub cancelled: bool,
    /// The attempt whose outcome is in doubt, where it is an attempt's.
    pub attempt: Option<AttemptToken>,
    pub evidence: Option<Box<Evidence>>,
    pub since: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fulfilled {
    pub session: Option<SessionId>,
    pub public_id: Option<PublicId>,
    pub tx_hash: Option<TxHash>,
    /// Found in the inventory or by a person, not told by `buy/status`.
    pub recovered: bool,
    pub evidence: Option<Box<Evidence>>,
}

impl State {
    pub fn name(&self) -> StateName {
        match self {
            State::Accepted { .. } => StateName::Accepted,
            State::Initiating(_) => StateName::Initiating,
            State::Pending(_) => StateName::Pending,
            State::Reconciling(_) => StateName::Reconciling,
            State::Review(_) => StateName::Review,
            State::Fulfilled(_) => StateName::Fulfilled,
            State::Failed { .. } => StateName::Failed,
        }
    }

    /// Whether nobody knows what its last call came to.
    pub fn is_in_doubt(&self) -> bool {
        match self {
            State::Reconciling(_) => true,
            State::Review(review) => review.session.is_none(),
            State::Accepted { .. } | State::Initiating(_) | State::Pending(_) | State::Fulfilled(_) | State::Failed { .. } => {
                false
            }
        }
    }

    /// What it waits for before it is called.
    pub fn waiting(&self) -> Option<&Waiting> {
        if let State::Accepted { waiting } = self { waiting.as_ref() } else { None }
    }

    /// The attempt that is under way.
    pub fn attempt(&self) -> Option<&Attempt> {
        if let State::Initiating(attempt) = self { Some(attempt) } else { None }
    }

    pub fn session(&self) -> Option<&SessionId> {
        match self {
            State::Accepted { .. } | State::Initiating(_) | State::Reconciling(_) => None,
            State::Pending(pending) => Some(&pending.session),
            State::Review(review) => review.session.as_ref(),
            State::Fulfilled(fulfilled) => fulfilled.session.as_ref(),
            State::Failed { session, .. } => session.as_ref(),
        }
    }
}

/// What can happen to a purchase.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// Permits are held and the guards passed: the door opens.
    Initiated(Attempt),
    /// A guard or a limit stands in the way.
    Held(Waiting),
    /// `not_after`, or the end of `max_wait`.
    Expired,
    Cancelled {
        by: String,
        why: String,
    },
    /// The pack is known to be out of stock.
    SoldOut,
    /// What an attempt's call brought back; said by its owner only.
    Answered {
        token: AttemptToken,
        answer: Answer,
    },
    /// The attempt's deadline is over and it has no answer.
    DeadlinePassed,
    Polled(StatusAnswer),
    Looked {
        verdict: Verdict,
        evidence: Evidence,
    },
    /// A person's word about a review.
    Resolved {
        resolution: Resolution,
        by: String,
        why: String,
    },
    /// Somebody begins to handle the row: timer or step.
    TurnTaken,
    /// Its worker shuts down.
    HandedBack,
    /// Its handler panicked.
    Panicked {
        message: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    FulfilledWith(Vec<Item>),
    Session(SessionId),
    Failed,
    /// Calls again, on a person's responsibility.
    Retry,
}

impl Happened {
    pub fn name(&self) -> HappenedName {
        match self {
            Happened::Initiated(_) => HappenedName::Initiated,
            Happened::Held(_) => HappenedName::Held,
            Happened::Expired => HappenedName::Expired,
            Happened::Cancelled { .. } => HappenedName::Cancelled,
            Happened::SoldOut => HappenedName::SoldOut,
            Happened::Answered { .. } => HappenedName::Answered,
            Happened::DeadlinePassed => HappenedName::DeadlinePassed,
            Happened::Polled(_) => HappenedName::Polled,
            Happened::Looked { .. } => HappenedName::Looked,
            Happened::Resolved { .. } => HappenedName::Resolved,
            Happened::TurnTaken => HappenedName::TurnTaken,
            Happened::HandedBack => HappenedName::HandedBack,
            Happened::Panicked { .. } => HappenedName::Panicked,
        }
    }
}

impl Purchase {
    /// A purchase as accepted at `now`. It is due at once: whoever inserts it holds it or hands it over.
    pub fn accept(partner: PartnerId, command: PurchaseCommand, now: Time, trace: TraceContext) -> Self {
        Self::accepted(partner, command, State::Accepted { waiting: None }, now, trace)
    }

    /// The next attempt, begun at `now`. It holds permits already: between its commit and its last byte nothing waits.
    pub fn attempt(&self, token: AttemptToken, now: Time, rules: &Rules) -> Attempt {
        self.begin(token, now, rules.timeouts.init, rules)
    }
}

impl Machine for Purchase {
    type Happened = Happened;

    fn of(order: AnyOrder) -> Option<Self> {
        if let AnyOrder::Purchase(purchase) = order { Some(purchase) } else { None }
    }

    fn decide(&self, happened: Happened, now: Time, rules: &Rules) -> Decision {
        decide(self, happened, now, rules)
    }

    fn name_of(happened: &Happened) -> HappenedName {
        happened.name()
    }

    fn turn_taken() -> Happened {
        Happened::TurnTaken
    }

    fn handed_back() -> Happened {
        Happened::HandedBack
    }

    fn panicked(message: String) -> Happened {
        Happened::Panicked { message }
    }

    fn answered(token: AttemptToken, answer: Answer) -> Happened {
        Happened::Answered { token, answer }
    }

    fn id(&self) -> OrderId {
        self.id
    }

    fn state(&self) -> StateName {
        self.state.name()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn concludes(&self, after: &Self) -> bool {
        self.state.is_in_doubt() && !after.state.is_in_doubt()
    }
}

/// What follows when `happened` happens to `purchase` at `now`.
pub fn decide(purchase: &Purchase, happened: Happened, now: Time, rules: &Rules) -> Decision {
    use Happened as H;
    use State as S;
    let now = micros(now);
    let go = Builder { purchase, now, rules };
    match (&purchase.state, happened) {
        (S::Accepted { .. }, H::Initiated(attempt)) => {
            if now >= purchase.expires_at(rules) && !planted(Bug::ExpiryIgnored) {
                return Decision::Illegal("it has expired and must not be called");
            }
            go.initiating(attempt)
        }
        (S::Initiating(current), H::Initiated(attempt)) if current.token == attempt.token => Decision::Repeat,
        (
            S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_) | S::Fulfilled(_) | S::Failed { .. },
            H::Initiated(_),
        ) => Decision::Illegal("it was called already"),

        (S::Accepted { .. }, H::Held(waiting)) => go.held(waiting, Next::Rest),
        (
            S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_) | S::Fulfilled(_) | S::Failed { .. },
            H::Held(_),
        ) => Decision::Illegal("it was called already"),

        (S::Accepted { .. }, H::Expired) => {
            if now < purchase.expires_at(rules) {
                return Decision::Illegal("it has not expired yet");
            }
            go.failed(FailureCode::Expired, "it was not called in time and never will be".into(), None)
        }
        // Guards do not apply once the door is open.
        (
            S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_) | S::Fulfilled(_) | S::Failed { .. },
            H::Expired,
        ) => Decision::Repeat,

        (S::Accepted { .. }, H::Cancelled { by, why }) => {
            go.by(by, go.failed(FailureCode::Cancelled, sentence("cancelled before it was called", &why), None))
        }
        (S::Failed { failure, .. }, H::Cancelled { .. }) if failure.code == FailureCode::Cancelled => Decision::Repeat,
        (
            S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_) | S::Fulfilled(_) | S::Failed { .. },
            H::Cancelled { .. },
        ) => Decision::Illegal("it is past the point of no return"),

        (S::Accepted { .. }, H::SoldOut) => {
            go.failed(FailureCode::OutOfStock, "the packs list says that the pack is out of stock".into(), None)
        }
        (
            S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_) | S::Fulfilled(_) | S::Failed { .. },
            H::SoldOut,
        ) => Decision::Illegal("it was called already"),

        // A session wins whenever it comes, even after a person's retry: with it in hand a second call would buy twice.
        (S::Accepted { .. }, H::Answered { answer, .. }) => match answer {
            Answer::Done { session, .. } => go.pending(session),
            Answer::Sold { .. }
            | Answer::Refused { .. }
            | Answer::Unauthorized { .. }
            | Answer::Busy { .. }
            | Answer::NeverSent { .. }
            | Answer::Unknown { .. } => Decision::Repeat,
        },
        (S::Initiating(attempt), H::Answered { token, answer }) => go.answered(attempt, None, attempt.token == token, answer),
        (S::Reconciling(doubt), H::Answered { token, answer }) => {
            go.answered(&doubt.attempt, Some(doubt), doubt.attempt.token == token, answer)
        }
        (S::Review(review), H::Answered { token, answer }) => go.answered_in_review(review, token, answer),
        (S::Pending(_) | S::Fulfilled(_) | S::Failed { .. }, H::Answered { answer, .. }) => {
            go.answered_late(purchase.state.session(), answer)
        }

        (S::Accepted { .. }, H::DeadlinePassed) => Decision::Illegal("no attempt is under way"),
        (S::Initiating(attempt), H::DeadlinePassed) => {
            if now < attempt.deadline {
                return Decision::Illegal("the attempt may still bring a session");
            }
            go.reconciling(attempt, "no answer was stored by the attempt's deadline".into(), None)
        }
        (S::Pending(_) | S::Reconciling(_) | S::Review(_) | S::Fulfilled(_) | S::Failed { .. }, H::DeadlinePassed) => {
            Decision::Repeat
        }

        (S::Accepted { .. } | S::Initiating(_) | S::Reconciling(_), H::Polled(_)) => {
            Decision::Illegal("there is no session to poll")
        }
        (S::Pending(pending), H::Polled(answer)) => go.polled(pending, answer),
        (S::Review(review), H::Polled(answer)) => go.polled_in_review(review, answer),
        (S::Fulfilled(_), H::Polled(_)) => Decision::Repeat,
        (S::Failed { .. }, H::Polled(answer)) => match answer {
            StatusAnswer::Fulfilled(fulfilment) => Decision::Orphan(fulfilment.session),
            StatusAnswer::Pending
            | StatusAnswer::TransactionFailed
            | StatusAnswer::Unauthorized
            | StatusAnswer::Unreadable { .. } => Decision::Repeat,
        },

        (S::Accepted { .. } | S::Initiating(_), H::Looked { .. }) => Decision::Illegal("its outcome is not in doubt"),
        (S::Pending(pending), H::Looked { verdict, evidence }) => go.looked_while_pending(pending, verdict, evidence),
        (S::Reconciling(doubt), H::Looked { verdict, evidence }) => go.looked(doubt, verdict, evidence),
        (S::Review(review), H::Looked { verdict, evidence }) => go.looked_in_review(review, verdict, evidence),
        (S::Fulfilled(_) | S::Failed { .. }, H::Looked { .. }) => Decision::Repeat,

        (S::Review(review), H::Resolved { resolution, by, why }) => go.by(by, go.resolved(review, resolution, &why)),
        (S::Accepted { .. } | S::Initiating(_) | S::Pending(_) | S::Reconciling(_), H::Resolved { .. }) => {
            Decision::Illegal("it is not in review")
        }
        (S::Fulfilled(_) | S::Failed { .. }, H::Resolved { .. }) => Decision::Illegal("it is final"),

        (S::Accepted { .. } | S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_), H::TurnTaken) => go.turn(),
        (S::Fulfilled(_) | S::Failed { .. }, H::TurnTaken) => Decision::Repeat,

        (S::Initiating(_), H::HandedBack) => Decision::Illegal("its call must end first"),
        (S::Accepted { .. } | S::Pending(_) | S::Reconciling(_) | S::Review(_), H::HandedBack) => {
            go.stay(now, Next::Rest, "its worker shut down and handed it back".into())
        }
        (S::Fulfilled(_) | S::Failed { .. }, H::HandedBack) => Decision::Repeat,

        (S::Accepted { .. } | S::Initiating(_) | S::Pending(_) | S::Reconciling(_) | S::Review(_), H::Panicked { message }) => {
            go.panicked(&message)
        }
        (S::Fulfilled(_) | S::Failed { .. }, H::Panicked { .. }) => Decision::Repeat,
    }
}

/// Builds transitions out of one purchase at one moment.
struct Builder<'a> {
    purchase: &'a Purchase,
    now: Time,
    rules: &'a Rules,
}

impl Builder<'_> {
    fn to(&self, state: State, due_at: Option<Time>, next: Next, note: String) -> Decision {
        self.with_items(state, due_at, next, note, Vec::new())
    }

    fn with_items(&self, state: State, due_at: Option<Time>, next: Next, note: String, items: Vec<Item>) -> Decision {
        let announced = state.name().is_announced() && state.name() != self.purchase.state.name();
        let after = Purchase {
            state,
            due_at,
            version: self.purchase.version + 1,
            nudges: 0,
            sequence: self.purchase.sequence + u64::from(announced),
            updated_at: self.now,
            ..self.purchase.clone()
        };
        Decision::Transition(Box::new(Transition { after, next, items, note, by: None }))
    }

    fn by(&self, who: String, decision: Decision) -> Decision {
        match decision {
            Decision::Transition(mut transition) => {
                transition.by = Some(who);
                Decision::Transition(transition)
            }
            other => other,
        }
    }

    /// The same state, due at `due_at`.
    fn stay(&self, due_at: Time, next: Next, note: String) -> Decision {
        self.to(self.purchase.state.clone(), Some(due_at), next, note)
    }

    /// When a timer of `wait` followed by a call of at most `call` must have ended.
    fn due_after(&self, wait: Duration, call: Duration) -> Time {
        after(self.now, wait.mul_f64(JITTER) + call + MARGIN)
    }

    fn initiating(&self, attempt: Attempt) -> Decision {
        let due = after(attempt.deadline, MARGIN);
        let note = format!("attempt {} begins", attempt.number);
        match self.to(State::Initiating(attempt), Some(due), Next::Call(attempt), note) {
            Decision::Transition(mut transition) => {
                transition.after.attempts = attempt.number;
                Decision::Transition(transition)
            }
            other => other,
        }
    }

    fn held(&self, waiting: Waiting, next: Next) -> Decision {
        let expires_at = self.purchase.expires_at(self.rules);
        let due = match (next, waiting.until) {
            (Next::TryAfter(wait), _) => self.due_after(wait, PERMIT_WAIT),
            (_, Some(until)) => until,
            (_, None) => expires_at,
        };
        let note = waiting.message.clone();
        self.to(State::Accepted { waiting: Some(waiting) }, Some(due.min(expires_at)), next, note)
    }

    fn failed(&self, code: FailureCode, message: String, status: Option<u16>) -> Decision {
        let note = format!("failed: {message}");
        let failure = Failure { code, message, upstream_status: status };
        let session = self.purchase.state.session().cloned();
        self.to(State::Failed { failure, session, evidence: None }, None, Next::Rest, note)
    }

    /// The answer of an attempt that is under way, or in doubt. Only its owner's word counts, but a session always does.
    fn answered(&self, attempt: &Attempt, doubt: Option<&Reconciling>, owner: bool, answer: Answer) -> Decision {
        match answer {
            Answer::Done { session, .. } => self.pending(session),
            Answer::Sold { .. } => Decision::Illegal("a purchase sells nothing"),
            _ if !owner => Decision::Repeat,
            Answer::Refused { code, message, status } => self.failed(code, message, Some(status)),
            Answer::Unauthorized { .. } | Answer::Busy { .. } | Answer::NeverSent { .. } => self.did_nothing(answer),
            Answer::Unknown { why, status } => match doubt {
                Some(_) => Decision::Repeat,
                None => self.reconciling(attempt, why, status),
            },
        }
    }

    /// After an answer that proves that nothing was bought: back to where it may be called.
    fn did_nothing(&self, answer: Answer) -> Decision {
        match answer {
            Answer::Unauthorized { message } => {
                let message = format!("the upstream refused the API key: {message}");
                let until = Some(after(self.now, REFUSED_KEY_WAIT));
                self.held(Waiting { code: WaitCode::Unauthorized, message, until }, Next::Rest)
            }
            Answer::Busy { retry_after } => self.again(WaitCode::Busy, "the upstream is busy", retry_after),
            Answer::NeverSent { why } => self.again(WaitCode::NotSent, &format!("the call was never sent: {why}"), None),
            Answer::Done { .. } | Answer::Sold { .. } | Answer::Refused { .. } | Answer::Unknown { .. } => {
                Decision::Illegal("it did something, or may have")
            }
        }
    }

    fn again(&self, code: WaitCode, message: &str, retry_after: Option<Duration>) -> Decision {
        let wait = poll::next_attempt(self.purchase.attempts, retry_after);
        let waiting = Waiting { code, message: message.into(), until: Some(after(self.now, wait)) };
        self.held(waiting, Next::TryAfter(wait))
    }

    fn answered_in_review(&self, review: &Review, token: AttemptToken, answer: Answer) -> Decision {
        match (answer, &review.session) {
            (Answer::Done { session, .. }, None) => self.pending(session),
            (answer @ Answer::Done { .. }, Some(known)) => self.answered_late(Some(known), answer),
            (Answer::Refused { code, message, status }, None) if review.attempt == Some(token) => {
                self.failed(code, message, Some(status))
            }
            // The doubt is over: the attempt did nothing, so it goes on as if its answer had come in time.
            (answer @ (Answer::Unauthorized { .. } | Answer::Busy { .. } | Answer::NeverSent { .. }), None)
                if review.attempt == Some(token) =>
            {
                self.did_nothing(answer)
            }
            // The fact is stored and shown.
            (
                Answer::Sold { .. }
                | Answer::Refused { .. }
                | Answer::Unauthorized { .. }
                | Answer::Busy { .. }
                | Answer::NeverSent { .. }
                | Answer::Unknown { .. },
                _,
            ) => Decision::Repeat,
        }
    }

    /// The answer of an attempt that no longer matters, unless it brings a session nobody knew.
    fn answered_late(&self, known: Option<&SessionId>, answer: Answer) -> Decision {
        match (answer, &self.purchase.state) {
            (Answer::Done { session, .. }, _) if known == Some(&session) => Decision::Repeat,
            // Recovered without a session: this is it.
            (Answer::Done { .. }, State::Fulfilled(fulfilled)) if fulfilled.session.is_none() => Decision::Repeat,
            (Answer::Done { session, .. }, _) => Decision::Orphan(session),
            (
                Answer::Sold { .. }
                | Answer::Refused { .. }
                | Answer::Unauthorized { .. }
                | Answer::Busy { .. }
                | Answer::NeverSent { .. }
                | Answer::Unknown { .. },
                _,
            ) => Decision::Repeat,
        }
    }

    /// A session is known: it is polled at once.
    fn pending(&self, session: SessionId) -> Decision {
        let note = format!("the upstream opened session {session}");
        let due = self.due_after(Duration::ZERO, self.rules.timeouts.status);
        let pending = Pending { session, since: self.now, polls: 0, cancelled: false };
        self.to(State::Pending(pending), Some(due), Next::PollAfter(Duration::ZERO), note)
    }

    fn reconciling(&self, attempt: &Attempt, why: String, status: Option<u16>) -> Decision {
        let wait = self.rules.reconcile.first;
        let due = self.due_after(wait, self.rules.timeouts.inventory);
        let note = format!("the outcome of attempt {} is unknown: {why}", attempt.number);
        let doubt = Reconciling { attempt: *attempt, why, status, since: self.now, looks: 0, evidence: None };
        self.to(State::Reconciling(doubt), Some(due), Next::LookAfter(wait), note)
    }

    fn polled(&self, pending: &Pending, answer: StatusAnswer) -> Decision {
        match answer {
            StatusAnswer::Fulfilled(fulfilment) => self.fulfilment(&pending.session, fulfilment),
            StatusAnswer::TransactionFailed => {
                let cancelled = Pending { polls: pending.polls + 1, cancelled: true, ..pending.clone() };
                let due = self.due_after(Duration::ZERO, self.rules.timeouts.inventory);
                let note = "the upstream says that the transaction failed; the inventory is asked".into();
                self.to(State::Pending(cancelled), Some(due), Next::LookAfter(Duration::ZERO), note)
            }
            StatusAnswer::Pending => self.poll_again(pending, "still pending"),
            StatusAnswer::Unauthorized => self.poll_again(pending, "the upstream refused the API key"),
            StatusAnswer::Unreadable { why } => self.poll_again(pending, &why),
        }
    }

    fn poll_again(&self, pending: &Pending, why: &str) -> Decision {
        if self.now >= after(pending.since, self.rules.poll.deadline) {
            let message = format!("not fulfilled in time; the last answer: {why}");
            return self.review(ReviewCode::StillPending, message, Some(&pending.session), None, None);
        }
        let polls = pending.polls + 1;
        let wait = poll::next_poll(&self.rules.poll, polls, pending.since, self.now);
        let state = State::Pending(Pending { polls, ..pending.clone() });
        let due = self.due_after(wait, self.rules.timeouts.status);
        self.to(state, Some(due), Next::PollAfter(wait), format!("poll {polls}: {why}"))
    }

    /// `buy/status` says fulfilled: believed only if it speaks of this session, this user, and as many items as were bought.
    fn fulfilment(&self, session: &SessionId, fulfilment: Fulfilment) -> Decision {
        let command = &self.purchase.command;
        let (told, bought) = (fulfilment.nfts.len(), command.amount as usize);
        let review = |code, message| self.review(code, message, Some(session), None, None);
        if fulfilment.session != *session {
            return review(ReviewCode::ItemMismatch, format!("the status told of another session: {}", fulfilment.session));
        }
        if fulfilment.user_id.as_ref().is_some_and(|user| *user != command.user_id) {
            return review(ReviewCode::ItemMismatch, "the status told of another user".into());
        }
        if told < bought {
            return review(ReviewCode::PartialItems, format!("fulfilled with {told} of {bought} items"));
        }
        if told > bought {
            return review(ReviewCode::ItemMismatch, format!("fulfilled with {told} items instead of {bought}"));
        }
        let fulfilled = Fulfilled {
            session: Some(fulfilment.session),
            public_id: fulfilment.public_id,
            tx_hash: fulfilment.tx_hash,
            recovered: false,
            evidence: None,
        };
        self.with_items(State::Fulfilled(fulfilled), None, Next::Rest, "fulfilled".into(), fulfilment.nfts)
    }

    /// Enters `review`, or stays in it with what is known now.
    fn review(
        &self,
        code: ReviewCode,
        message: String,
        session: Option<&SessionId>,
        attempt: Option<AttemptToken>,
        evidence: Option<Evidence>,
    ) -> Decision {
        let (since, cancelled) = match &self.purchase.state {
            State::Review(review) => (review.since, review.cancelled),
            State::Pending(pending) => (self.now, pending.cancelled),
            State::Accepted { .. }
            | State::Initiating(_)
            | State::Reconciling(_)
            | State::Fulfilled(_)
            | State::Failed { .. } => (self.now, false),
        };
        let note = format!("needs a person: {message}");
        let state = State::Review(Review {
            code,
            message,
            session: session.cloned(),
            cancelled,
            attempt,
            evidence: evidence.map(Box::new),
            since,
        });
        self.to(state, Some(after(self.now, poll::next_review_look(since, self.now))), Next::Rest, note)
    }

    fn polled_in_review(&self, review: &Review, answer: StatusAnswer) -> Decision {
        let Some(session) = &review.session else { return Decision::Illegal("there is no session to poll") };
        match answer {
            StatusAnswer::Fulfilled(fulfilment) => self.fulfilment(session, fulfilment),
            StatusAnswer::TransactionFailed => {
                let state = State::Review(Review { cancelled: true, ..review.clone() });
                let due = self.due_after(Duration::ZERO, self.rules.timeouts.inventory);
                let note = "the upstream says that the transaction failed; the inventory is asked".into();
                self.to(state, Some(due), Next::LookAfter(Duration::ZERO), note)
            }
            StatusAnswer::Pending => self.still_in_review(review, "the session is still pending"),
            StatusAnswer::Unauthorized => self.still_in_review(review, "the upstream refused the API key"),
            StatusAnswer::Unreadable { why } => self.still_in_review(review, &why),
        }
    }

    fn still_in_review(&self, review: &Review, note: &str) -> Decision {
        let due = after(self.now, poll::next_review_look(review.since, self.now));
        self.stay(due, Next::Rest, note.into())
    }

    /// A look made because the status said that the transaction failed.
    fn looked_while_pending(&self, pending: &Pending, verdict: Verdict, evidence: Evidence) -> Decision {
        if !pending.cancelled {
            return Decision::Illegal("its outcome is not in doubt");
        }
        match verdict {
            Verdict::Absent => self.with_evidence(self.cancelled_upstream(), evidence),
            Verdict::Recovered(_) => {
                let message = "the upstream says that the transaction failed, yet its items are in the inventory".into();
                self.review(ReviewCode::ItemMismatch, message, Some(&pending.session), None, Some(evidence))
            }
            Verdict::Unclear(code, message) => self.review(code, message, Some(&pending.session), None, Some(evidence)),
            Verdict::Wait(why) => match self.poll_again(pending, &why) {
                Decision::Transition(mut transition) => {
                    if let Next::PollAfter(wait) = transition.next {
                        transition.next = Next::LookAfter(wait);
                    }
                    Decision::Transition(transition)
                }
                other => other,
            },
        }
    }

    fn cancelled_upstream(&self) -> Decision {
        self.failed(FailureCode::TransactionFailed, "Transaction failed".into(), Some(400))
    }

    fn looked(&self, doubt: &Reconciling, verdict: Verdict, evidence: Evidence) -> Decision {
        match verdict {
            Verdict::Recovered(items) => self.recovered(items, evidence),
            Verdict::Absent => self.proven_refused(evidence),
            Verdict::Unclear(code, message) => self.review(code, message, None, Some(doubt.attempt.token), Some(evidence)),
            Verdict::Wait(why) => {
                let looks = doubt.looks + 1;
                let wait = poll::next_look(&self.rules.reconcile, looks, doubt.since, self.now);
                let state = State::Reconciling(Reconciling { looks, evidence: Some(Box::new(evidence)), ..doubt.clone() });
                let due = self.due_after(wait, self.rules.timeouts.inventory);
                self.to(state, Some(due), Next::LookAfter(wait), format!("look {looks}: {why}"))
            }
        }
    }

    fn proven_refused(&self, evidence: Evidence) -> Decision {
        let message = format!("{}; {} looks at the inventory proved that nothing was bought", evidence.doubt, evidence.proofs);
        self.with_evidence(self.failed(FailureCode::Refused, message, evidence.status), evidence)
    }

    fn with_evidence(&self, decision: Decision, concluded_from: Evidence) -> Decision {
        let Decision::Transition(mut transition) = decision else { return decision };
        if let State::Failed { evidence, .. } = &mut transition.after.state {
            *evidence = Some(Box::new(concluded_from));
        }
        Decision::Transition(transition)
    }

    fn recovered(&self, found: Vec<HeldItem>, evidence: Evidence) -> Decision {
        let items = found.into_iter().map(|held| held.item).collect();
        let fulfilled = Fulfilled {
            session: self.purchase.state.session().cloned(),
            public_id: None,
            tx_hash: None,
            recovered: true,
            evidence: Some(Box::new(evidence)),
        };
        self.with_items(State::Fulfilled(fulfilled), None, Next::Rest, "recovered from the inventory".into(), items)
    }

    fn looked_in_review(&self, review: &Review, verdict: Verdict, evidence: Evidence) -> Decision {
        match verdict {
            Verdict::Recovered(items) if review.session.is_none() => self.recovered(items, evidence),
            Verdict::Absent if review.cancelled => self.with_evidence(self.cancelled_upstream(), evidence),
            Verdict::Absent if review.session.is_none() => self.proven_refused(evidence),
            Verdict::Recovered(_) | Verdict::Absent | Verdict::Unclear(..) | Verdict::Wait(_) => {
                let due = after(self.now, poll::next_review_look(review.since, self.now));
                let state = State::Review(Review { evidence: Some(Box::new(evidence)), ..review.clone() });
                self.to(state, Some(due), Next::Rest, "looked again, still in doubt".into())
            }
        }
    }

    fn resolved(&self, review: &Review, resolution: Resolution, why: &str) -> Decision {
        match resolution {
            Resolution::FulfilledWith(items) if items.len() == self.purchase.command.amount as usize => {
                let evidence = review.evidence.clone();
                let fulfilled =
                    Fulfilled { session: review.session.clone(), public_id: None, tx_hash: None, recovered: true, evidence };
                self.with_items(State::Fulfilled(fulfilled), None, Next::Rest, sentence("resolved as fulfilled", why), items)
            }
            Resolution::FulfilledWith(_) => Decision::Illegal("it must be resolved with as many items as were bought"),
            Resolution::Session(session) => self.pending(session),
            Resolution::Failed => self.failed(FailureCode::Refused, sentence("resolved as failed", why), None),
            Resolution::Retry if review.session.is_some() && !review.cancelled => {
                Decision::Illegal("it has a session: something was bought, and calling again would buy twice")
            }
            Resolution::Retry => {
                let note = sentence("a person decided to call again", why);
                self.to(State::Accepted { waiting: None }, Some(self.now), Next::Rest, note)
            }
        }
    }

    /// The write every turn begins with: it takes the next number and covers what the turn may do.
    fn turn(&self) -> Decision {
        let timeouts = &self.rules.timeouts;
        let due = match &self.purchase.state {
            State::Accepted { .. } => {
                let expires_at = self.purchase.expires_at(self.rules);
                let covered = after(self.now, PERMIT_WAIT + MARGIN);
                if expires_at > self.now { covered.min(expires_at) } else { covered }
            }
            State::Initiating(attempt) => after(attempt.deadline.max(self.now), MARGIN),
            State::Pending(_) | State::Reconciling(_) | State::Review(_) => {
                after(self.now, timeouts.status.max(timeouts.inventory) + MARGIN)
            }
            State::Fulfilled(_) | State::Failed { .. } => return Decision::Repeat,
        };
        self.stay(due, Next::Rest, "a turn begins".into())
    }

    fn panicked(&self, message: &str) -> Decision {
        let panics = self.purchase.panics + 1;
        let called = matches!(self.purchase.state, State::Pending(_) | State::Reconciling(_));
        let decision = if called && panics >= MOST_PANICS {
            let message = format!("its handler panicked {panics} times, last: {message}");
            let attempt = match &self.purchase.state {
                State::Reconciling(doubt) => Some(doubt.attempt.token),
                _ => None,
            };
            self.review(ReviewCode::UnknownOutcome, message, self.purchase.state.session(), attempt, None)
        } else {
            let again = after(self.now, poll::next_nudge(panics));
            let due = match &self.purchase.state {
                State::Initiating(attempt) => after(attempt.deadline.max(self.now), MARGIN),
                _ => again,
            };
            self.stay(due, Next::Rest, format!("its handler panicked: {message}"))
        };
        match decision {
            Decision::Transition(mut transition) => {
                transition.after.panics = panics;
                Decision::Transition(transition)
            }
            other => other,
        }
    }
}
