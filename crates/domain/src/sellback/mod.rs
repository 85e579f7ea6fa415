//! The sellback machine: one item of a user is sold back, at most once.
//!
//! `buyback` takes an item id, and says "Item not found" of what was sold a moment ago. So what it came to is known by its answer, or by
//! comparing how often the account held the item just before the call with how often it does after ([`Holding`]). As in the
//! [purchase machine](crate::purchase) there is one door, one attempt at a time, and a total, pure function that decides.
//!
//! The table of the states is drawn in `crates/decisions/sellback-machine.md`; a test keeps the drawing equal to this code.

mod builder;
mod holding;
mod lacks;
mod ready;
#[cfg(test)]
mod tests;

use crate::{
    AttemptToken, Money, OrderId, PartnerId, PullId, PurchaseId, SellbackId, Time,
    answer::Answer,
    clock::micros,
    command::SellbackCommand,
    order::{AnyOrder, Attempt, Decision, HappenedName, Machine, Next, Order, Rules, StateName},
    reason::{Failure, FailureCode, ReviewCode, Waiting, sentence},
    trace::TraceContext,
};
use builder::Builder;

pub use holding::{After, Copies, Holding, MOST_COPIES, MOST_HOLDERS, SaleEvidence, SaleLook, SaleVerdict, Weighed, weigh};
pub use lacks::{KnownCopy, MOST_KNOWN, lacks_others};
pub use ready::{Listing, MOST_SALES, Readiness, SaleCase, SoldCopy, TRY_AGAIN, is_outrun, list, readiness};

/// A command to sell back, and how far it has come.
pub type Sellback = Order<SellbackCommand, State>;

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Stored, not called.
    Accepted {
        waiting: Option<Waiting>,
        /// What a person had called again though nobody knew what it had come to.
        unsettled: Option<Box<Sale>>,
    },
    /// The one-way door: until the attempt's deadline nobody but its owner touches the row.
    Selling(Sale),
    Reconciling(Doubt),
    Review(Review),
    Sold(Sold),
    Failed {
        failure: Failure,
        /// Where it was concluded from the inventory.
        evidence: Option<Box<SaleEvidence>>,
    },
}

/// One `buyback` call, and what the account held just before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sale {
    pub attempt: Attempt,
    pub item_id: crate::ItemId,
    /// Which of the user's pulls is given away; `None` for an item that no purchase of ours drew.
    pub pull: Option<PullPlace>,
    pub before: Holding,
    /// Sales of the item id that were stored already when the look before was judged, as far as it may be behind them.
    pub known_sales: Vec<SellbackId>,
    /// An earlier attempt may have sold it: then "Item not found" proves nothing.
    pub retried: bool,
}

/// Where a pull stands: its purchase, and its place among what that drew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PullPlace {
    pub purchase: PurchaseId,
    pub position: u32,
}

impl PullPlace {
    pub fn id(self) -> PullId {
        PullId::of(self.purchase, self.position)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    pub sale: Sale,
    /// Why the outcome is unknown.
    pub why: String,
    /// The HTTP status, where one was received.
    pub status: Option<u16>,
    /// The upstream said that somebody else was selling it: then the call itself did nothing.
    pub busy: bool,
    pub since: Time,
    pub looks: u32,
    pub evidence: Option<Box<SaleEvidence>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    pub code: ReviewCode,
    pub message: String,
    /// What is in doubt; `None` where a handler panicked before its call.
    pub sale: Option<Sale>,
    pub evidence: Option<Box<SaleEvidence>>,
    pub since: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sold {
    pub item_id: crate::ItemId,
    pub pull: Option<PullPlace>,
    /// `None` when neither the upstream's answer nor the look before it told a price.
    pub amount: Option<Money>,
    /// Not as the upstream told it, but as the price stood just before the call.
    pub estimated: bool,
    pub evidence: Option<Box<SaleEvidence>>,
}

impl State {
    pub fn name(&self) -> StateName {
        match self {
            State::Accepted { .. } => StateName::Accepted,
            State::Selling(_) => StateName::Selling,
            State::Reconciling(_) => StateName::Reconciling,
            State::Review(_) => StateName::Review,
            State::Sold(_) => StateName::Sold,
            State::Failed { .. } => StateName::Failed,
        }
    }

    pub fn waiting(&self) -> Option<&Waiting> {
        if let State::Accepted { waiting, .. } = self { waiting.as_ref() } else { None }
    }

    /// The attempt that is under way.
    pub fn attempt(&self) -> Option<&Attempt> {
        if let State::Selling(sale) = self { Some(&sale.attempt) } else { None }
    }

    /// The call that was begun and whose outcome is not settled. While there is one, nobody else sells the same item id.
    pub fn sale(&self) -> Option<&Sale> {
        match self {
            State::Accepted { unsettled, .. } => unsettled.as_deref(),
            State::Selling(sale) => Some(sale),
            State::Reconciling(doubt) => Some(&doubt.sale),
            State::Review(review) => review.sale.as_ref(),
            State::Sold(_) | State::Failed { .. } => None,
        }
    }

    pub fn sold(&self) -> Option<&Sold> {
        if let State::Sold(sold) = self { Some(sold) } else { None }
    }

    pub fn evidence(&self) -> Option<&SaleEvidence> {
        match self {
            State::Reconciling(doubt) => doubt.evidence.as_deref(),
            State::Review(review) => review.evidence.as_deref(),
            State::Sold(sold) => sold.evidence.as_deref(),
            State::Failed { evidence, .. } => evidence.as_deref(),
            State::Accepted { .. } | State::Selling(_) => None,
        }
    }
}

/// What can happen to a sellback.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// Permits are held, the guards passed and the item was just seen: the door opens.
    Initiated(Box<Sale>),
    /// A guard, a limit, another sale of the item or an inventory that cannot be read stands in the way.
    Held(Waiting),
    /// `not_after`, or the end of `max_wait`.
    Expired,
    Cancelled {
        by: String,
        why: String,
    },
    /// A good look just before the call says that it must not be sold, or cannot.
    Unsellable(FailureCode, String),
    /// What an attempt's call brought back; said by its owner only.
    Answered {
        token: AttemptToken,
        answer: Answer,
    },
    /// The attempt's deadline is over and it has no answer.
    DeadlinePassed,
    Looked {
        verdict: SaleVerdict,
        evidence: SaleEvidence,
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
    /// It was sold, for as much as the person knows.
    Sold(Option<Money>),
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
            Happened::Unsellable(..) => HappenedName::Unsellable,
            Happened::Answered { .. } => HappenedName::Answered,
            Happened::DeadlinePassed => HappenedName::DeadlinePassed,
            Happened::Looked { .. } => HappenedName::Looked,
            Happened::Resolved { .. } => HappenedName::Resolved,
            Happened::TurnTaken => HappenedName::TurnTaken,
            Happened::HandedBack => HappenedName::HandedBack,
            Happened::Panicked { .. } => HappenedName::Panicked,
        }
    }
}

impl Sellback {
    /// A sellback as accepted at `now`. It is due at once: whoever inserts it holds it or hands it over.
    pub fn accept(partner: PartnerId, command: SellbackCommand, now: Time, trace: TraceContext) -> Self {
        Self::accepted(partner, command, State::Accepted { waiting: None, unsettled: None }, now, trace)
    }

    /// The next attempt, begun at `now`. It holds permits already: between its commit and its last byte nothing waits.
    pub fn attempt(&self, token: AttemptToken, now: Time, rules: &Rules) -> Attempt {
        self.begin(token, now, rules.timeouts.buyback, rules)
    }
}

impl Machine for Sellback {
    type Happened = Happened;

    fn of(order: AnyOrder) -> Option<Self> {
        if let AnyOrder::Sellback(sellback) = order { Some(sellback) } else { None }
    }

    fn decide(&self, happened: Happened, now: Time, rules: &Rules) -> Decision<Self> {
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
        after.state.sold().is_some_and(|sold| sold.pull.is_some())
    }
}

/// What follows when `happened` happens to `sellback` at `now`.
pub fn decide(sellback: &Sellback, happened: Happened, now: Time, rules: &Rules) -> Decision<Sellback> {
    use Happened as H;
    use State as S;
    let now = micros(now);
    let go = Builder { sellback, now, rules };
    match (&sellback.state, happened) {
        (S::Accepted { .. }, H::Initiated(sale)) => {
            if now >= sellback.expires_at(rules) {
                return Decision::Illegal("it has expired and must not be called");
            }
            go.selling(*sale)
        }
        (S::Selling(current), H::Initiated(sale)) if current.attempt.token == sale.attempt.token => Decision::Repeat,
        (S::Selling(_) | S::Reconciling(_) | S::Review(_) | S::Sold(_) | S::Failed { .. }, H::Initiated(_)) => {
            Decision::Illegal("it was called already")
        }

        (S::Accepted { .. }, H::Held(waiting)) => go.held(waiting, Next::Rest),
        (S::Accepted { .. }, H::Unsellable(code, message)) => go.never_called(code, message),
        (S::Selling(_) | S::Reconciling(_) | S::Review(_) | S::Sold(_) | S::Failed { .. }, H::Held(_) | H::Unsellable(..)) => {
            Decision::Illegal("it was called already")
        }

        (S::Accepted { .. }, H::Expired) => {
            if now < sellback.expires_at(rules) {
                return Decision::Illegal("it has not expired yet");
            }
            go.never_called(FailureCode::Expired, "it was not called in time and never will be".into())
        }
        // Guards do not apply once the door is open.
        (S::Selling(_) | S::Reconciling(_) | S::Review(_) | S::Sold(_) | S::Failed { .. }, H::Expired) => Decision::Repeat,

        (S::Accepted { .. }, H::Cancelled { by, why }) => {
            go.by(by, go.never_called(FailureCode::Cancelled, sentence("cancelled before it was called", &why)))
        }
        (S::Failed { failure, .. }, H::Cancelled { .. }) if failure.code == FailureCode::Cancelled => Decision::Repeat,
        (S::Selling(_) | S::Reconciling(_) | S::Review(_) | S::Sold(_) | S::Failed { .. }, H::Cancelled { .. }) => {
            Decision::Illegal("it is past the point of no return")
        }

        // A sale wins whenever it comes, whichever of the calls in doubt brings it.
        (S::Accepted { unsettled: Some(sale), .. }, H::Answered { answer: Answer::Sold { amount }, .. }) => {
            go.told(sale, amount)
        }
        (S::Accepted { .. }, H::Answered { .. }) => Decision::Repeat,
        (S::Selling(sale), H::Answered { token, answer }) if sale.attempt.token == token => go.answered(sale, answer),
        (S::Reconciling(doubt), H::Answered { token, answer }) => go.answered_in_doubt(&doubt.sale, token, answer),
        (S::Review(review), H::Answered { token, answer }) => match &review.sale {
            Some(sale) => go.answered_in_doubt(sale, token, answer),
            None => Decision::Repeat,
        },
        // Another attempt's, while one is under way: its fact is stored and shown.
        (S::Selling(_), H::Answered { .. }) => Decision::Repeat,
        (S::Sold(_), H::Answered { .. }) => Decision::Repeat,
        (S::Failed { .. }, H::Answered { answer, .. }) => go.answered_too_late(answer),

        (S::Accepted { .. }, H::DeadlinePassed) => Decision::Illegal("no attempt is under way"),
        (S::Selling(sale), H::DeadlinePassed) => {
            if now < sale.attempt.deadline {
                return Decision::Illegal("the attempt may still be answered");
            }
            go.reconciling(sale, "no answer was stored by the attempt's deadline".into(), None, false)
        }
        (S::Reconciling(_) | S::Review(_) | S::Sold(_) | S::Failed { .. }, H::DeadlinePassed) => Decision::Repeat,

        (S::Accepted { .. } | S::Selling(_), H::Looked { .. }) => Decision::Illegal("its outcome is not in doubt"),
        (S::Reconciling(doubt), H::Looked { verdict, evidence }) => go.looked(doubt, verdict, evidence),
        (S::Review(review), H::Looked { verdict, evidence }) => go.looked_in_review(review, verdict, evidence),
        (S::Sold(_) | S::Failed { .. }, H::Looked { .. }) => Decision::Repeat,

        (S::Review(review), H::Resolved { resolution, by, why }) => go.by(by, go.resolved(review, resolution, &why)),
        (S::Accepted { .. } | S::Selling(_) | S::Reconciling(_), H::Resolved { .. }) => {
            Decision::Illegal("it is not in review")
        }
        (S::Sold(_) | S::Failed { .. }, H::Resolved { .. }) => Decision::Illegal("it is final"),

        (S::Accepted { .. } | S::Selling(_) | S::Reconciling(_) | S::Review(_), H::TurnTaken) => go.turn(),
        (S::Sold(_) | S::Failed { .. }, H::TurnTaken) => Decision::Repeat,

        (S::Selling(_), H::HandedBack) => Decision::Illegal("its call must end first"),
        (S::Accepted { .. } | S::Reconciling(_) | S::Review(_), H::HandedBack) => {
            go.stay(now, Next::Rest, "its worker shut down and handed it back".into())
        }
        (S::Sold(_) | S::Failed { .. }, H::HandedBack) => Decision::Repeat,

        (S::Accepted { .. } | S::Selling(_) | S::Reconciling(_) | S::Review(_), H::Panicked { message }) => {
            go.panicked(&message)
        }
        (S::Sold(_) | S::Failed { .. }, H::Panicked { .. }) => Decision::Repeat,
    }
}
