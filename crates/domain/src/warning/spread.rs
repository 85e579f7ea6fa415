//! When work on a user begins, so that a crowd that is due at one moment neither asks for more than the read budget nor is late.
//!
//! A digest rests on a look at most a minute old, so a digest can be spread only together with its look: both go out early. A *crowd*
//! is the number of a partner's users who are due within a digest of a moment, either way. Its looks take `users / budget`; they are
//! spread over a quarter more than that (four fifths of the budget, for draws are not even), ending [`LOOKING`] before the moment:
//!
//! ```text
//! begins_at = due - LOOKING - jitter × min(users / budget × 5/4, room)        jitter in [0, 1), of partner and user
//! ```
//!
//! What quiet hours held is spread forward from their end instead, over no more than the digest.
//!
//! Up to `digest × budget × 4/5` users nobody is warned earlier than a digest before the lead time. Larger crowds go out as much earlier
//! as they need: being early gives way first, up to the lead time itself (the *room*: a warning of one hour comes no more than two hours
//! before expiry); then, and where quiet hours leave no room, the budget makes some wait, and who waits beyond the patience of the lead
//! time is warned unverified, as the promise has it.
//!
//! Nothing of this is stored: a crowd that grows makes everybody in it begin earlier, nobody later. It must be counted by the moments at
//! which users are due, those already warned too: if it shrank with each, the rest would bunch up at the end.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{due::Window, row::sooner};
use crate::{
    PartnerId, Time, UserId,
    clock::{after, until},
};

/// For the last look of a crowd to be waited for, made (its time-out is 15 s) and told.
pub const LOOKING: Duration = Duration::from_secs(30);

/// Who is due at about one moment, and how fast their inventories may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    pub users: u64,
    /// 0 counts as 1: without any budget nothing could begin.
    pub reads_per_second: u32,
}

impl Crowd {
    /// How long before the moment the first look begins, if there is room.
    pub fn span(self) -> Duration {
        // A quarter more than `users / reads_per_second`, in microseconds.
        let micros = u128::from(self.users) * 1_250_000 / u128::from(self.reads_per_second.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How many users a window of this length has room for within the budget.
    pub fn room(window: Duration, reads_per_second: u32) -> u64 {
        let micros = window.saturating_sub(LOOKING).as_micros();
        u64::try_from(micros * u128::from(reads_per_second.max(1)) / 1_250_000).unwrap_or(u64::MAX)
    }
}

/// When the look of a user's next digest begins: within its window, and so never later than it is due.
pub fn begins_at(window: Window, partner: &PartnerId, user: &UserId, crowd: Crowd) -> Time {
    let last = sooner(window.due, LOOKING);
    let span = crowd.span().min(until(window.opens, last));
    let away = part(span, jitter(partner, user));
    let begins = if window.held { after(window.opens, away) } else { sooner(last, away) };
    begins.max(window.opens).min(window.due)
}

/// A user's own place in every crowd, as 2⁻⁶⁴ths: the same on every machine and in every version.
pub fn jitter(partner: &PartnerId, user: &UserId) -> u64 {
    let mut hash = Sha256::new_with_prefix("clawback.warning.jitter");
    for part in [partner.as_str(), user.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// `span × fraction / 2⁶⁴`.
pub(super) fn part(span: Duration, fraction: u64) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(((u128::from(micros) * u128::from(fraction)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_crowd_takes_a_quarter_more_than_its_looks() {
        for (users, reads_per_second, span) in
            [(0, 50, 0), (100, 50, 2500), (36_000, 50, 900_000), (1_000_000, 50, 25_000_000), (8, 0, 10_000)]
        {
            let crowd = Crowd { users, reads_per_second };
            assert_eq!(crowd.span().as_millis(), span, "{crowd:?}");
        }
        assert_eq!(Crowd::room(seconds(930), 50), 36_000);
        assert_eq!(Crowd::room(seconds(10), 50), 0);
        assert_eq!(Crowd { users: u64::MAX, reads_per_second: 1 }.span(), Duration::from_micros(u64::MAX));
    }

    #[test]
    fn a_place_never_changes() {
        let jitter = |partner, user| jitter(&PartnerId::new(partner).unwrap(), &UserId::new(user).unwrap());
        assert_eq!(jitter("acme", "user-1"), 5_905_544_296_998_700_395);
        assert_ne!(jitter("acme", "user-1"), jitter("acme", "user-2"));
        assert_ne!(jitter("a", "bc"), jitter("ab", "c"));
    }

    #[test]
    fn a_window_that_is_shorter_than_a_look_begins_when_it_opens() {
        let due = after(Time::UNIX_EPOCH, seconds(1000));
        let (partner, user) = (PartnerId::new("acme").unwrap(), UserId::new("u").unwrap());
        for length in [0, 1, 30] {
            let window = Window { opens: sooner(due, seconds(length)), due, held: false };
            assert_eq!(begins_at(window, &partner, &user, Crowd { users: 1000, reads_per_second: 1 }), window.opens);
        }
    }
}
