//! Orders: what purchases and sellbacks have in common.
//!
//! Both are commands that were stored, wait for their turn, go through a one-way door and are followed until they rest. So both are
//! rows of one kind, under ids of one space, with one clock that makes them due; what a state carries and what leads from one to the
//! next is each machine's own ([`purchase`](crate::purchase), [`sellback`](crate::sellback)).

use std::{sync::Arc, time::Duration};

use crate::{
    AttemptToken, Money, OrderId, PartnerId, RequestId, SessionId, Time, UserId,
    answer::Answer,
    clock::after,
    command::{Digest, PurchaseCommand, SellbackCommand},
    item::Item,
    pause::CommandKind,
    poll::{PollRules, ReconcileRules, Timeouts},
    purchase::Purchase,
    reason::codes,
    sellback::Sellback,
    trace::TraceContext,
};

/// What is added to every due time beyond the time-outs it covers: commits, scheduling, a busy machine.
pub const MARGIN: Duration = Duration::from_secs(5);

/// From the commit that opens the door to the moment at which the request's body may last be handed to a socket.
pub const SEND_WINDOW: Duration = Duration::from_secs(5);

/// How long a command waits for a permit with its delivery, or its turn, in hand.
pub const PERMIT_WAIT: Duration = Duration::from_secs(60);

/// Another key makes a refused order due at once; it looks again by itself after this long, for whoever should have told may have
/// died in between.
pub(crate) const REFUSED_KEY_WAIT: Duration = Duration::from_secs(600);

/// After this many panics of its handler an order that was called needs a person.
pub const MOST_PANICS: u32 = 5;

/// A stored command `C` in its state `S`.
#[derive(Debug, Clone, PartialEq)]
pub struct Order<C, S> {
    pub id: OrderId,
    pub partner: PartnerId,
    pub command: Arc<C>,
    /// Of the command's fields as the partner gave them: tells a repeat from a conflict.
    pub digest: Digest,
    pub state: S,
    /// Rises by one with every write. A turn or a transition fits only the version it was computed from.
    pub version: i64,
    /// When the row wants to be looked at next; `None` exactly when the state is final.
    pub due_at: Option<Time>,
    /// How often the scheduler has stepped it since somebody last took a turn.
    pub nudges: u32,
    /// How many calls of the upstream were begun.
    pub attempts: u32,
    pub panics: u32,
    /// The sequence of the last event, 0 before the first.
    pub sequence: u64,
    pub created_at: Time,
    pub updated_at: Time,
    pub trace: TraceContext,
}

/// What every command says.
pub trait Asked {
    fn request_id(&self) -> &RequestId;

    fn not_after(&self) -> Option<Time>;

    fn digest(&self) -> Digest;
}

impl Asked for PurchaseCommand {
    fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    fn not_after(&self) -> Option<Time> {
        self.not_after
    }

    fn digest(&self) -> Digest {
        PurchaseCommand::digest(self)
    }
}

impl Asked for SellbackCommand {
    fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    fn not_after(&self) -> Option<Time> {
        self.not_after
    }

    fn digest(&self) -> Digest {
        SellbackCommand::digest(self)
    }
}

impl<C: Asked, S> Order<C, S> {
    /// As accepted at `now`, in the machine's first state. It is due at once: whoever inserts it holds it or hands it over.
    pub(crate) fn accepted(partner: PartnerId, command: C, state: S, now: Time, trace: TraceContext) -> Self {
        Self {
            id: OrderId::of(&partner, command.request_id()),
            partner,
            digest: command.digest(),
            command: Arc::new(command),
            state,
            version: 1,
            due_at: Some(now),
            nudges: 0,
            attempts: 0,
            panics: 0,
            sequence: 0,
            created_at: now,
            updated_at: now,
            trace,
        }
    }

    /// Until when it may be called: `not_after`, else the end of `max_wait`.
    pub fn expires_at(&self, rules: &Rules) -> Time {
        self.command.not_after().unwrap_or_else(|| after(self.created_at, rules.max_wait))
    }

    /// The next attempt, begun at `now`, whose call takes at most `call`. It holds permits already: between its commit and its last byte
    /// nothing waits.
    pub(crate) fn begin(&self, token: AttemptToken, now: Time, call: Duration, rules: &Rules) -> Attempt {
        let send_by = after(now, SEND_WINDOW).min(self.expires_at(rules));
        let deadline = after(send_by, rules.timeouts.connect + call + MARGIN);
        Attempt { number: self.attempts + 1, token, started_at: now, send_by, deadline, price: None }
    }

    /// What `X-Request-Id` carries: names the attempt in the upstream's log and in the sandbox's ledger.
    pub fn reference(&self, attempt: &Attempt) -> String {
        format!("{}.{}", self.id, attempt.number)
    }
}

/// A stored command, whatever it asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyOrder {
    Purchase(Purchase),
    Sellback(Sellback),
}

/// An order that a machine moves.
pub trait Machine: Clone + PartialEq + Into<AnyOrder> + Send + Sync + 'static {
    type Happened: Clone + Send + Sync + 'static;

    /// The order as this machine's; `None` when it is the other's.
    fn of(order: AnyOrder) -> Option<Self>;

    fn decide(&self, happened: Self::Happened, now: Time, rules: &Rules) -> Decision<Self>;

    fn name_of(happened: &Self::Happened) -> HappenedName;

    fn turn_taken() -> Self::Happened;

    fn handed_back() -> Self::Happened;

    fn panicked(message: String) -> Self::Happened;

    fn answered(token: AttemptToken, answer: Answer) -> Self::Happened;

    /// Whether becoming `after` says something about what the user holds that nobody knew.
    fn concludes(&self, after: &Self) -> bool;

    fn id(&self) -> OrderId;

    fn state(&self) -> StateName;

    fn sequence(&self) -> u64;
}

/// Evaluates the same expression for either kind of order.
macro_rules! each {
    ($any:expr, $order:ident => $what:expr) => {
        match $any {
            AnyOrder::Purchase($order) => $what,
            AnyOrder::Sellback($order) => $what,
        }
    };
}

impl AnyOrder {
    pub fn kind(&self) -> CommandKind {
        match self {
            AnyOrder::Purchase(_) => CommandKind::Purchase,
            AnyOrder::Sellback(_) => CommandKind::Sellback,
        }
    }

    pub fn purchase(&self) -> Option<&Purchase> {
        if let AnyOrder::Purchase(purchase) = self { Some(purchase) } else { None }
    }

    pub fn sellback(&self) -> Option<&Sellback> {
        if let AnyOrder::Sellback(sellback) = self { Some(sellback) } else { None }
    }

    pub fn id(&self) -> OrderId {
        each!(self, order => order.id)
    }

    pub fn partner(&self) -> &PartnerId {
        each!(self, order => &order.partner)
    }

    pub fn request_id(&self) -> &RequestId {
        each!(self, order => &order.command.request_id)
    }

    pub fn user_id(&self) -> &UserId {
        each!(self, order => &order.command.user_id)
    }

    pub fn not_after(&self) -> Option<Time> {
        each!(self, order => order.command.not_after)
    }

    pub fn digest(&self) -> &Digest {
        each!(self, order => &order.digest)
    }

    pub fn state(&self) -> StateName {
        each!(self, order => order.state.name())
    }

    pub fn version(&self) -> i64 {
        each!(self, order => order.version)
    }

    pub fn due_at(&self) -> Option<Time> {
        each!(self, order => order.due_at)
    }

    pub fn nudges(&self) -> u32 {
        each!(self, order => order.nudges)
    }

    pub fn attempts(&self) -> u32 {
        each!(self, order => order.attempts)
    }

    pub fn sequence(&self) -> u64 {
        each!(self, order => order.sequence)
    }

    pub fn created_at(&self) -> Time {
        each!(self, order => order.created_at)
    }

    pub fn updated_at(&self) -> Time {
        each!(self, order => order.updated_at)
    }

    pub fn trace(&self) -> &TraceContext {
        each!(self, order => &order.trace)
    }

    /// What it waits for while it is accepted.
    pub fn waiting(&self) -> Option<&crate::reason::Waiting> {
        match self {
            AnyOrder::Purchase(purchase) => purchase.state.waiting(),
            AnyOrder::Sellback(sellback) => sellback.state.waiting(),
        }
    }

    /// The attempt that is under way.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            AnyOrder::Purchase(purchase) => purchase.state.attempt(),
            AnyOrder::Sellback(sellback) => sellback.state.attempt(),
        }
    }

    pub fn at_version(mut self, version: i64) -> Self {
        each!(&mut self, order => order.version = version);
        self
    }

    /// A mistake to plant: due in ten years.
    pub fn never_due(mut self, now: Time) -> Self {
        let in_ten_years = after(now, Duration::from_secs(10 * 365 * 24 * 3600));
        each!(&mut self, order => order.due_at = order.due_at.map(|_| in_ten_years));
        self
    }

    /// Moved on by the clock's side: due at another time, under the next version.
    pub fn moved(mut self, due_at: Time, nudges: u32) -> Self {
        each!(&mut self, order => {
            order.due_at = Some(due_at);
            order.nudges = nudges;
            order.version += 1;
        });
        self
    }
}

impl From<Purchase> for AnyOrder {
    fn from(purchase: Purchase) -> Self {
        AnyOrder::Purchase(purchase)
    }
}

impl From<Sellback> for AnyOrder {
    fn from(sellback: Sellback) -> Self {
        AnyOrder::Sellback(sellback)
    }
}

codes!(
    /// A state without what it carries.
    StateName {
        Accepted = "accepted",
        Initiating = "initiating",
        /// A sellback's `initiating`.
        Selling = "selling",
        Pending = "pending",
        Reconciling = "reconciling",
        Review = "review",
        Fulfilled = "fulfilled",
        Sold = "sold",
        Failed = "failed",
    }
);

impl StateName {
    pub fn is_final(self) -> bool {
        matches!(self, StateName::Fulfilled | StateName::Sold | StateName::Failed)
    }

    /// Whether entering it is told to the partner.
    pub fn is_announced(self) -> bool {
        self.is_final() || self == StateName::Review
    }
}

/// One `buy/init` or `buyback` call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    pub token: AttemptToken,
    pub started_at: Time,
    /// Not a byte leaves after it.
    pub send_by: Time,
    /// After it the call has ended, however it ended.
    pub deadline: Time,
    /// What it spends if it buys, as the packs were listed when it began, or brings if it sells, as the inventory was read just before;
    /// `None` where neither told.
    pub price: Option<Money>,
}

impl Attempt {
    pub fn costing(self, price: Option<Money>) -> Self {
        Self { price, ..self }
    }
}

/// What the machine must know of a partner's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub poll: PollRules,
    pub timeouts: Timeouts,
    pub reconcile: ReconcileRules,
    pub max_wait: Duration,
    /// Clawback alone buys with the partner's key: only then does the inventory prove anything.
    pub exclusive: bool,
    /// One item id may be drawn several times, as in the upstream's sandbox. In production an item is one item.
    pub item_ids_repeat: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            poll: PollRules::default(),
            timeouts: Timeouts::default(),
            reconcile: ReconcileRules::default(),
            max_wait: Duration::from_secs(24 * 3600),
            exclusive: true,
            item_ids_repeat: true,
        }
    }
}

codes!(
    /// What can happen to an order, without what it carries.
    HappenedName {
        Initiated = "initiated",
        Held = "held",
        Expired = "expired",
        Cancelled = "cancelled",
        SoldOut = "sold_out",
        Unsellable = "unsellable",
        Answered = "answered",
        DeadlinePassed = "deadline_passed",
        Polled = "polled",
        Looked = "looked",
        Resolved = "resolved",
        TurnTaken = "turn_taken",
        HandedBack = "handed_back",
        Panicked = "panicked",
    }
);

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<O = Purchase> {
    Transition(Box<Transition<O>>),
    /// Already so, or it no longer matters.
    Repeat,
    /// A session that this purchase cannot take: it is final, or has another. It would be a double buy; report it.
    Orphan(SessionId),
    /// What came contradicts how it ended, and nothing can undo that: report it.
    TooLate(String),
    Illegal(&'static str),
}

/// The order as it shall stand, and what its holder does next.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition<O = Purchase> {
    pub after: O,
    pub next: Next,
    /// The items to record as pulls, when a purchase is fulfilled.
    pub items: Vec<Item>,
    pub note: String,
    pub by: Option<String>,
}

/// What the holder of the row does next. Spans are without jitter; the row's `due_at` covers them with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The row is left to its `due_at`, or final.
    Rest,
    Call(Attempt),
    /// Take a turn after this span and try to initiate again.
    TryAfter(Duration),
    PollAfter(Duration),
    LookAfter(Duration),
}
