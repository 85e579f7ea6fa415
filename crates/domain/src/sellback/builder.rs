//! What follows, in full: the transitions of a sellback at one moment.

use std::time::Duration;

use super::{Doubt, MOST_HOLDERS, Resolution, Review, Sale, SaleEvidence, SaleVerdict, Sellback, Sold, State};
use crate::{
    AttemptToken, Money, Time,
    answer::Answer,
    clock::after,
    order::{Decision, MARGIN, MOST_PANICS, Next, PERMIT_WAIT, REFUSED_KEY_WAIT, Rules, Transition},
    planted::{Bug, planted},
    poll::{self, JITTER},
    reason::{Failure, FailureCode, ReviewCode, WaitCode, Waiting, sentence},
};

pub(super) struct Builder<'a> {
    pub sellback: &'a Sellback,
    pub now: Time,
    pub rules: &'a Rules,
}

type Decided = Decision<Sellback>;

impl Builder<'_> {
    fn to(&self, state: State, due_at: Option<Time>, next: Next, note: String) -> Decided {
        let announced = state.name().is_announced() && state.name() != self.sellback.state.name();
        let after = Sellback {
            state,
            due_at,
            version: self.sellback.version + 1,
            nudges: 0,
            sequence: self.sellback.sequence + u64::from(announced),
            updated_at: self.now,
            ..self.sellback.clone()
        };
        Decision::Transition(Box::new(Transition { after, next, items: Vec::new(), note, by: None }))
    }

    pub fn by(&self, who: String, decision: Decided) -> Decided {
        match decision {
            Decision::Transition(mut transition) => {
                transition.by = Some(who);
                Decision::Transition(transition)
            }
            other => other,
        }
    }

    /// The same state, due at `due_at`.
    pub fn stay(&self, due_at: Time, next: Next, note: String) -> Decided {
        self.to(self.sellback.state.clone(), Some(due_at), next, note)
    }

    /// When a timer of `wait` followed by a call of at most `call` must have ended.
    fn due_after(&self, wait: Duration, call: Duration) -> Time {
        after(self.now, wait.mul_f64(JITTER) + call + MARGIN)
    }

    pub fn selling(&self, sale: Sale) -> Decided {
        let attempt = sale.attempt;
        let sale = Sale { retried: sale.retried || self.unsettled().is_some(), ..sale };
        let note = format!("attempt {} begins: {}", attempt.number, sale.before);
        match self.to(State::Selling(sale), Some(after(attempt.deadline, MARGIN)), Next::Call(attempt), note) {
            Decision::Transition(mut transition) => {
                transition.after.attempts = attempt.number;
                Decision::Transition(transition)
            }
            other => other,
        }
    }

    pub fn held(&self, waiting: Waiting, next: Next) -> Decided {
        let expires_at = self.sellback.expires_at(self.rules);
        let due = match (next, waiting.until) {
            (Next::TryAfter(wait), _) => self.due_after(wait, PERMIT_WAIT),
            (_, Some(until)) => until,
            (_, None) => expires_at,
        };
        let note = waiting.message.clone();
        let unsettled = self.unsettled();
        self.to(State::Accepted { waiting: Some(waiting), unsettled }, Some(due.min(expires_at)), next, note)
    }

    pub fn failed(&self, code: FailureCode, message: String, status: Option<u16>) -> Decided {
        let note = format!("failed: {message}");
        let failure = Failure { code, message, upstream_status: status };
        self.to(State::Failed { failure, evidence: None }, None, Next::Rest, note)
    }

    /// It will not be called. That is its end, unless an earlier call of it is in doubt.
    pub fn never_called(&self, code: FailureCode, message: String) -> Decided {
        match self.unsettled() {
            Some(sale) => {
                let message = format!("{message}; the attempt that was in doubt may have sold it");
                self.review(ReviewCode::UnknownOutcome, message, Some(&sale), None)
            }
            None => self.failed(code, message, None),
        }
    }

    fn sold(&self, sale: &Sale, amount: Option<Money>, evidence: Option<Box<SaleEvidence>>, note: String) -> Decided {
        // A sale without a readable amount is a sale: what is told is the price just before it.
        let sold = Sold {
            item_id: sale.item_id.clone(),
            pull: sale.pull,
            amount: amount.or(sale.attempt.price),
            estimated: amount.is_none(),
            evidence,
        };
        self.to(State::Sold(sold), None, Next::Rest, note)
    }

    /// The upstream's own word needs no evidence.
    pub fn told(&self, sale: &Sale, amount: Option<Money>) -> Decided {
        self.sold(sale, amount, None, "sold".into())
    }

    /// The answer of the attempt under way, from its owner.
    pub fn answered(&self, sale: &Sale, answer: Answer) -> Decided {
        match answer {
            Answer::Sold { amount } => self.told(sale, amount),
            Answer::Refused { code: FailureCode::ItemNotFound, .. } if planted(Bug::NotFoundIsSold) => self.told(sale, None),
            // Said of what an earlier attempt may have sold it proves nothing: the inventory is asked.
            Answer::Refused { code: FailureCode::ItemNotFound, message, status } if sale.retried => {
                self.reconciling(sale, message, Some(status), false)
            }
            Answer::Refused { code, message, status } => self.failed(code, message, Some(status)),
            Answer::Busy { .. } => {
                self.reconciling(sale, "the upstream says that a sale of it is under way".into(), None, true)
            }
            Answer::Unauthorized { .. } | Answer::NeverSent { .. } => self.did_nothing(answer),
            Answer::Unknown { why, .. } if planted(Bug::SaleUnknownFails) => self.failed(FailureCode::Refused, why, None),
            Answer::Unknown { why, status } => self.reconciling(sale, why, status, false),
            Answer::Done { .. } => Decision::Illegal("a sellback buys nothing"),
        }
    }

    /// The answer of an attempt in doubt, come late: of the last, or of one that a person had called again after.
    pub fn answered_in_doubt(&self, sale: &Sale, token: AttemptToken, answer: Answer) -> Decided {
        let ours = sale.attempt.token == token;
        match answer {
            Answer::Sold { amount } if ours || sale.retried => self.told(sale, amount),
            Answer::Sold { .. } | Answer::Refused { .. } | Answer::Unauthorized { .. } | Answer::NeverSent { .. } if !ours => {
                Decision::Repeat
            }
            // It is in doubt already, for the attempt before.
            Answer::Refused { code: FailureCode::ItemNotFound, .. } if sale.retried => Decision::Repeat,
            Answer::Refused { .. } | Answer::Unauthorized { .. } | Answer::NeverSent { .. } => self.answered(sale, answer),
            Answer::Sold { .. } | Answer::Busy { .. } | Answer::Unknown { .. } => Decision::Repeat,
            Answer::Done { .. } => Decision::Illegal("a sellback buys nothing"),
        }
    }

    /// What a person had called again, while it waits for that.
    fn unsettled(&self) -> Option<Box<Sale>> {
        match &self.sellback.state {
            State::Accepted { unsettled, .. } => unsettled.clone(),
            // A first try that did nothing leaves no doubt behind; one that followed a doubt leaves that.
            State::Selling(sale) | State::Reconciling(Doubt { sale, .. }) | State::Review(Review { sale: Some(sale), .. })
                if sale.retried =>
            {
                Some(Box::new(sale.clone()))
            }
            State::Selling(_) | State::Reconciling(_) | State::Review(_) | State::Sold(_) | State::Failed { .. } => None,
        }
    }

    /// A late answer to what was concluded not to have been sold.
    pub fn answered_too_late(&self, answer: Answer) -> Decided {
        match answer {
            Answer::Sold { amount } => {
                let amount = amount.map_or_else(|| "an unreadable amount".into(), |amount| format!("{amount} USD"));
                Decision::TooLate(format!("it was sold for {amount} after it had been concluded that it was not"))
            }
            Answer::Refused { .. }
            | Answer::Unauthorized { .. }
            | Answer::Busy { .. }
            | Answer::NeverSent { .. }
            | Answer::Unknown { .. } => Decision::Repeat,
            Answer::Done { .. } => Decision::Illegal("a sellback buys nothing"),
        }
    }

    /// After an answer that proves that nothing was sold: back to where it may be called.
    fn did_nothing(&self, answer: Answer) -> Decided {
        match answer {
            Answer::Unauthorized { message } => {
                let message = format!("the upstream refused the API key: {message}");
                let until = Some(after(self.now, REFUSED_KEY_WAIT));
                self.held(Waiting { code: WaitCode::Unauthorized, message, until }, Next::Rest)
            }
            Answer::NeverSent { why } => self.again(WaitCode::NotSent, format!("the call was never sent: {why}")),
            Answer::Busy { .. } => self.again(WaitCode::Busy, "the upstream was selling it and did not".into()),
            Answer::Sold { .. } | Answer::Done { .. } | Answer::Refused { .. } | Answer::Unknown { .. } => {
                Decision::Illegal("it did something, or may have")
            }
        }
    }

    fn again(&self, code: WaitCode, message: String) -> Decided {
        let wait = poll::next_attempt(self.sellback.attempts, None);
        let waiting = Waiting { code, message, until: Some(after(self.now, wait)) };
        self.held(waiting, Next::TryAfter(wait))
    }

    pub fn reconciling(&self, sale: &Sale, why: String, status: Option<u16>, busy: bool) -> Decided {
        let wait = self.rules.reconcile.first;
        let due = self.due_after(wait, self.looking());
        let note = format!("what attempt {} came to is unknown: {why}", sale.attempt.number);
        let doubt = Doubt { sale: sale.clone(), why, status, busy, since: self.now, looks: 0, evidence: None };
        self.to(State::Reconciling(doubt), Some(due), Next::LookAfter(wait), note)
    }

    pub fn looked(&self, doubt: &Doubt, verdict: SaleVerdict, evidence: SaleEvidence) -> Decided {
        match verdict {
            SaleVerdict::Sold => {
                self.sold(&doubt.sale, None, Some(Box::new(evidence)), "it has left the inventory: sold".into())
            }
            // It is still there, and the call itself did nothing: it may be called again, after another look.
            SaleVerdict::NotSold if doubt.busy => self.did_nothing(Answer::Busy { retry_after: None }),
            SaleVerdict::NotSold => self.not_sold(evidence),
            SaleVerdict::Unclear(code, message) => self.review(code, message, Some(&doubt.sale), Some(evidence)),
            SaleVerdict::Wait(why) => {
                let looks = doubt.looks + 1;
                let wait = poll::backoff(self.rules.reconcile.first, self.rules.reconcile.max, looks);
                let state = State::Reconciling(Doubt { looks, evidence: Some(Box::new(evidence)), ..doubt.clone() });
                let due = self.due_after(wait, self.looking());
                self.to(state, Some(due), Next::LookAfter(wait), format!("look {looks}: {why}"))
            }
        }
    }

    fn not_sold(&self, concluded_from: SaleEvidence) -> Decided {
        let message = format!("{}; the item was still there when nothing could come of it any more", concluded_from.doubt);
        let status = concluded_from.status;
        match self.failed(FailureCode::Refused, message, status) {
            Decision::Transition(mut transition) => {
                if let State::Failed { evidence, .. } = &mut transition.after.state {
                    *evidence = Some(Box::new(concluded_from));
                }
                Decision::Transition(transition)
            }
            other => other,
        }
    }

    fn review(&self, code: ReviewCode, message: String, sale: Option<&Sale>, evidence: Option<SaleEvidence>) -> Decided {
        let note = format!("needs a person: {message}");
        let state =
            State::Review(Review { code, message, sale: sale.cloned(), evidence: evidence.map(Box::new), since: self.now });
        self.to(state, Some(after(self.now, poll::next_review_look(self.now, self.now))), Next::Rest, note)
    }

    /// What a look shows by then may come of anything: it is kept for the person, and settles nothing.
    pub fn looked_in_review(&self, review: &Review, verdict: SaleVerdict, evidence: SaleEvidence) -> Decided {
        let due = after(self.now, poll::next_review_look(review.since, self.now));
        let state = State::Review(Review { evidence: Some(Box::new(evidence)), ..review.clone() });
        self.to(state, Some(due), Next::Rest, format!("looked again, still in doubt: {verdict}"))
    }

    pub fn resolved(&self, review: &Review, resolution: Resolution, why: &str) -> Decided {
        match (resolution, &review.sale) {
            (Resolution::Sold(amount), Some(sale)) => {
                let note = sentence("resolved as sold", why);
                estimated(self.sold(sale, amount, review.evidence.clone(), note))
            }
            (Resolution::Sold(_), None) => Decision::Illegal("it was never called"),
            (Resolution::Failed, _) => self.failed(FailureCode::Refused, sentence("resolved as failed", why), None),
            (Resolution::Retry, sale) => {
                let note = sentence("a person decided to call again", why);
                let unsettled = sale.clone().map(Box::new);
                self.to(State::Accepted { waiting: None, unsettled }, Some(self.now), Next::Rest, note)
            }
        }
    }

    /// What reading the inventories of all holders may take.
    fn looking(&self) -> Duration {
        self.rules.timeouts.inventory * (MOST_HOLDERS + 1)
    }

    /// The write every turn begins with: it takes the next number and covers what the turn may do.
    pub fn turn(&self) -> Decided {
        let due = match &self.sellback.state {
            State::Accepted { .. } => {
                let expires_at = self.sellback.expires_at(self.rules);
                let covered = after(self.now, PERMIT_WAIT + self.looking() + MARGIN);
                if expires_at > self.now { covered.min(expires_at) } else { covered }
            }
            State::Selling(sale) => after(sale.attempt.deadline.max(self.now), MARGIN),
            State::Reconciling(_) | State::Review(_) => after(self.now, self.looking() + MARGIN),
            State::Sold(_) | State::Failed { .. } => return Decision::Repeat,
        };
        self.stay(due, Next::Rest, "a turn begins".into())
    }

    pub fn panicked(&self, message: &str) -> Decided {
        let panics = self.sellback.panics + 1;
        let decision = match &self.sellback.state {
            State::Reconciling(doubt) if panics >= MOST_PANICS => {
                let message = format!("its handler panicked {panics} times, last: {message}");
                self.review(ReviewCode::UnknownOutcome, message, Some(&doubt.sale), doubt.evidence.as_deref().cloned())
            }
            State::Selling(sale) => {
                self.stay(after(sale.attempt.deadline.max(self.now), MARGIN), Next::Rest, panic_note(message))
            }
            State::Accepted { .. } | State::Reconciling(_) | State::Review(_) | State::Sold(_) | State::Failed { .. } => {
                self.stay(after(self.now, poll::next_nudge(panics)), Next::Rest, panic_note(message))
            }
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

/// A person's word about an amount is not the upstream's.
fn estimated(mut decision: Decided) -> Decided {
    if let Decision::Transition(transition) = &mut decision
        && let State::Sold(sold) = &mut transition.after.state
    {
        sold.estimated = true;
    }
    decision
}

fn panic_note(message: &str) -> String {
    format!("its handler panicked: {message}")
}
