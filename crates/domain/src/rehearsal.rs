//! Named places in the code where a process may die in a rehearsal.
//!
//! Without the feature `rehearsal` [`reach`] is an empty inline function. With it, the simulation hooks it per thread, and a process may
//! be told to abort at its n-th visit: `CLAWBACK_CRASH_AT=CalledNotStored:3`.

use crate::reason::codes;

codes!(
    /// A line between two others whose order matters.
    Point {
        /// Commit 1 stands, the delivery is not acked: it comes again and finds its row.
        StoredNotAcked = "StoredNotAcked",
        /// Acked, `buy/init` not yet called: only the attempt's deadline tells that nothing will come.
        AckedNotCalled = "AckedNotCalled",
        /// The answer is in memory alone.
        CalledNotStored = "CalledNotStored",
        /// The session stands, its poll has not begun.
        SessionStored = "SessionStored",
        /// The upstream said fulfilled, the commit is not made.
        PolledNotStored = "PolledNotStored",
        /// The final state and its event stand, nothing is published.
        StoredNotPublished = "StoredNotPublished",
        /// The event is out, not marked sent: it goes out again with the same id.
        PublishedNotMarked = "PublishedNotMarked",
        /// The dead letter is confirmed, its delivery not acked.
        DeadLetteredNotAcked = "DeadLetteredNotAcked",
        /// The dead letter and its event stand, the dead letter's delivery is not acked.
        DeadLetterStoredNotAcked = "DeadLetterStoredNotAcked",
        /// The inventory is read, nothing concluded from it.
        LookedNotJudged = "LookedNotJudged",
        /// The step's turn is taken, nothing done with it.
        TurnTaken = "TurnTaken",
        /// A user's turn is taken, nothing done with it.
        UserTurnTaken = "UserTurnTaken",
        /// What a user's turn looked at is kept, nothing sent or planned by it.
        UserLookedNotSettled = "UserLookedNotSettled",
        /// An automatic sale is stored, no step published for it and the turn not settled.
        OfferedNotStepped = "OfferedNotStepped",
        /// The scheduler moved the row, the step is not published.
        ClaimedNotStepped = "ClaimedNotStepped",
    }
);

/// What a killed process unwinds with: nobody may catch and swallow it.
#[derive(Debug)]
pub struct Killed;

#[cfg(all(feature = "rehearsal", not(debug_assertions)))]
compile_error!("a release cannot be built with the feature `rehearsal`");

#[cfg(not(feature = "rehearsal"))]
#[inline(always)]
pub fn reach(_: Point) {}

#[cfg(feature = "rehearsal")]
pub use hooked::{hook, reach};

#[cfg(feature = "rehearsal")]
mod hooked {
    use std::{
        cell::RefCell,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::Point;

    type Hook = Box<dyn Fn(Point)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Calls `hook` whenever this thread reaches a point; the simulation counts there, and dies there.
    pub fn hook(hook: Option<Hook>) {
        HOOK.with(|cell| *cell.borrow_mut() = hook);
    }

    pub fn reach(point: Point) {
        HOOK.with(|cell| {
            if let Some(hook) = &*cell.borrow() {
                hook(point);
            }
        });
        static ORDER: OnceLock<Option<(Point, u32)>> = OnceLock::new();
        static VISITS: AtomicU32 = AtomicU32::new(0);
        let order = ORDER.get_or_init(|| {
            let text = std::env::var("CLAWBACK_CRASH_AT").ok()?;
            let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
            Some((Point::parse(name)?, count.parse().ok()?))
        });
        if let Some((at, count)) = order
            && *at == point
            && VISITS.fetch_add(1, Ordering::SeqCst) + 1 == *count
        {
            std::process::abort();
        }
    }
}
