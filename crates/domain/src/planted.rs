//! Planted bugs: mutations that the simulation chooses at run time, to show that it would find them.
//!
//! A plant stands at the place where the mistake would be made, as one line: `if planted(Bug::AckBeforeCommit) { … }`. Without the
//! feature `rehearsal` [`planted`] is a constant and the line is gone; a release cannot have the feature (see
//! [`rehearsal`](crate::rehearsal)). A plant takes out every guard of its promise, for a second guard would hide it.

use crate::reason::codes;

codes!(
    /// A mistake that the code does not make. Each names the promise that it breaks.
    Bug {
        /// Lose nothing: the delivery is acked before its row is stored.
        AckBeforeCommit = "AckBeforeCommit",
        /// Never buy twice: the call is made before its attempt is stored.
        CallBeforeCommit = "CallBeforeCommit",
        /// Never buy twice: an unknown outcome counts as never sent.
        UnknownIsNeverSent = "UnknownIsNeverSent",
        /// Never buy twice: a reset counts as a call that was never sent.
        ResetIsNeverSent = "ResetIsNeverSent",
        /// Never buy twice: an insert that finds its key taken is told that the row is its own.
        MatchedByKey = "MatchedByKey",
        /// Never buy twice: a repeat of a finished command is called again.
        RepeatCallsAgain = "RepeatCallsAgain",
        /// Never buy twice: who lost the version goes on as if it had won.
        ActsThoughLost = "ActsThoughLost",
        /// Never buy twice: a change whose commit is unknown counts as committed.
        UnknownIsCommitted = "UnknownIsCommitted",
        /// Lose nothing: an insert whose commit is unknown counts as stored.
        UnknownIsStored = "UnknownIsStored",
        /// Every end is true: a request leaves after its `send_by`, when others have judged it already.
        SendByIgnored = "SendByIgnored",
        /// Say everything: who learns too late that its attempt was stored keeps silent about never having called.
        OvertakenIsSilent = "OvertakenIsSilent",
        /// Lose nothing: a session whose transition does not fit is dropped.
        SessionDropped = "SessionDropped",
        /// Lose nothing: a row that is not final is due in years.
        DueForgotten = "DueForgotten",
        /// Lose nothing: the scheduler claims what is due and steps nobody.
        NeverStepped = "NeverStepped",
        /// Lose nothing: a message that is no command is acked before its dead letter is confirmed.
        RejectedUnconfirmed = "RejectedUnconfirmed",
        /// Say everything: an event is published before its commit stands.
        EventBeforeCommit = "EventBeforeCommit",
        /// Say everything: what was not confirmed is marked sent.
        UnconfirmedIsSent = "UnconfirmedIsSent",
        /// Say everything: the relay forgets what a crash left unsent.
        UnsentForgotten = "UnsentForgotten",
        /// Say everything: an event that was sent is not marked so.
        NeverMarked = "NeverMarked",
        /// Exactly one end: a final event that is sent again has another id.
        RepeatedUnderNewId = "RepeatedUnderNewId",
        /// Guards hold: nobody looks whether a purchase is paused.
        PausesIgnored = "PausesIgnored",
        /// Guards hold: a purchase is called after its `not_after`.
        ExpiryIgnored = "ExpiryIgnored",
        /// Every end is true: one look that shows nothing proves absence.
        OneLookEnough = "OneLookEnough",
        /// Every end is true: an upstream that does not know the user proves absence, though we know pulls of theirs.
        NotFoundIsProof = "NotFoundIsProof",
        /// Every end is true: a look forgets what earlier ones showed.
        EvidenceForgotten = "EvidenceForgotten",
        /// Every end is true: what was bought before an attempt began may be its own.
        SinceIgnored = "SinceIgnored",
        /// Every end is true: pulls explain items by their id alone, whenever those were bought.
        ExplainedByIdAlone = "ExplainedByIdAlone",
        /// Every end is true: who may still bring a session is not waited for.
        RivalsForgotten = "RivalsForgotten",
        /// Every end is true: what is known of a user is read before the inventory.
        CaseReadFirst = "CaseReadFirst",
        /// Every end is true: two conclusions about one user may be drawn from the same case.
        RulingsNotSerialised = "RulingsNotSerialised",
        /// Never sell twice: an unknown outcome of a sale counts as never sent.
        SaleUnknownIsNeverSent = "SaleUnknownIsNeverSent",
        /// Every end is true: an unknown outcome of a sale counts as a refusal.
        SaleUnknownFails = "SaleUnknownFails",
        /// Every end is true: an item that is still held once counts as held, however often it was before.
        SalesBySet = "SalesBySet",
        /// Every end is true: what is still there at the first look was not sold.
        SaleWindowIgnored = "SaleWindowIgnored",
        /// Every end is true: a look that lacks other items too proves that this one was sold.
        SuspiciousIgnored = "SuspiciousIgnored",
        /// Every end is true: a look counts what another sale has taken since.
        SaleLagIgnored = "SaleLagIgnored",
        /// Every end is true: what another sale took between the look and the door counts as sold by the call behind it.
        OtherSalesForgotten = "OtherSalesForgotten",
        /// Every end is true: a look before a sale that lacks known copies of the item is used.
        UnshownCopiesIgnored = "UnshownCopiesIgnored",
        /// Every end is true: only the seller's inventory is compared, though others hold the same item id.
        HoldersForgotten = "HoldersForgotten",
        /// Every end is true: "Item not found" counts as sold.
        NotFoundIsSold = "NotFoundIsSold",
        /// Never sell twice: a pull that was sold may be sold again.
        SoldPullSoldAgain = "SoldPullSoldAgain",
        /// Every end is true: two sellbacks of one item are under way at once.
        SalesOverlap = "SalesOverlap",
        /// Never sell twice: a sale does not mark its pull.
        PullNotMarked = "PullNotMarked",
        /// Warn everyone: one look that does not show an item makes it gone.
        GoneAtOneLook = "GoneAtOneLook",
        /// Warn everyone: a user's turn forgets when the next is due.
        UserNeverDue = "UserNeverDue",
        /// Warn everyone: users who are due are claimed and no step is published.
        UsersNeverStepped = "UsersNeverStepped",
        /// Warn everyone: an expiry that the first look did not tell is not asked for again.
        UnreadForgotten = "UnreadForgotten",
        /// Warn once: a turn that is not the row's any more sends all the same.
        TurnsOverlap = "TurnsOverlap",
        /// Warn once: that a window closed is not remembered.
        ClosedAgain = "ClosedAgain",
        /// Warn truly: a digest holds what the turn believed, though it was sold meanwhile.
        SoldIsWarnedOf = "SoldIsWarnedOf",
        /// Warn truly: what the last look did not show is warned of.
        UnseenIsWarnedOf = "UnseenIsWarnedOf",
        /// Warn truly: any look is recent enough.
        StaleIsVerified = "StaleIsVerified",
        /// Warn truly: who wants no warnings gets them.
        OptOutIgnored = "OptOutIgnored",
    }
);

#[cfg(not(feature = "rehearsal"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "rehearsal")]
pub use chosen::{plant, planted};

#[cfg(feature = "rehearsal")]
mod chosen {
    use std::cell::Cell;

    use super::Bug;

    // Not a static: seeds with different bugs run side by side.
    thread_local! {
        static CHOSEN: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in everything that this thread runs from now on, instead of the one before.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.set(bug);
    }

    pub fn planted(bug: Bug) -> bool {
        CHOSEN.get() == Some(bug)
    }
}
