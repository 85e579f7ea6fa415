//! The window of a pull closed unsold: told once per pull, to the partner, whatever its user chose about warnings.

use super::row::{Sale, Watched};
use crate::{
    Time,
    item::{Expiry, Sight},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    NotYet {
        at: Time,
    },
    /// A sellback may still turn out to have sold it in time.
    WhenSaleEnds,
    Say,
    Never(Unsaid),
}

/// Why nothing is said of a pull's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// Not read yet, or there is none.
    NoExpiry,
    Sold,
    /// The last good look before the expiry did not show it, or none ever did.
    NotHeld,
    AlreadySaid,
}

/// Whether `clawback.buyback.expired` is due for a pull of which it was, or was not, said before.
pub fn closed(watched: &Watched, said: bool, now: Time) -> Closed {
    let Expiry::At(expiry) = watched.sight.expiry else { return Closed::Never(Unsaid::NoExpiry) };
    if said {
        return Closed::Never(Unsaid::AlreadySaid);
    }
    match watched.sale {
        Sale::Sold => Closed::Never(Unsaid::Sold),
        Sale::None | Sale::UnderWay if now < expiry => Closed::NotYet { at: expiry },
        Sale::None | Sale::UnderWay if !held_until(&watched.sight, expiry) => Closed::Never(Unsaid::NotHeld),
        Sale::UnderWay => Closed::WhenSaleEnds,
        Sale::None => Closed::Say,
    }
}

/// Whether the last good look before `expiry` showed it. A look after it proves nothing against that: expired items may be hidden.
fn held_until(sight: &Sight, expiry: Time) -> bool {
    sight.seen_at.is_some() && sight.missing_since.is_none_or(|since| since >= expiry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PackId, PullId};

    fn at(minutes: i64) -> Time {
        Time::UNIX_EPOCH + chrono::TimeDelta::minutes(minutes)
    }

    /// Expires in minute 100. `looks`: when, and whether it was shown.
    fn check(looks: &[(i64, bool)], sale: Sale, now: i64, expected: Closed) {
        let shown = crate::item::Shown { expiry: Expiry::At(at(100)), ..Default::default() };
        let sight = looks.iter().fold(Sight { expiry: Expiry::At(at(100)), ..Sight::default() }, |sight, (minute, seen)| {
            sight.after(at(*minute), seen.then_some(shown))
        });
        let watched = Watched { pull: PullId(uuid::Uuid::nil()), pack: PackId::new("p").unwrap(), sight, sale };
        assert_eq!(closed(&watched, false, at(now)), expected, "{looks:?} {sale:?}");
        assert_eq!(closed(&watched, true, at(now)), Closed::Never(Unsaid::AlreadySaid));
    }

    #[test]
    fn a_window_that_closed_unsold_is_told_of_what_was_held_before() {
        let not_held = Closed::Never(Unsaid::NotHeld);
        check(&[(50, true)], Sale::None, 99, Closed::NotYet { at: at(100) });
        check(&[(50, true)], Sale::None, 100, Closed::Say);
        check(&[(50, true)], Sale::UnderWay, 100, Closed::WhenSaleEnds);
        check(&[(50, true)], Sale::Sold, 100, Closed::Never(Unsaid::Sold));
        check(&[(50, true), (99, false)], Sale::None, 100, not_held);
        check(&[(50, true), (99, false), (105, false)], Sale::None, 106, not_held);
        check(&[(50, true), (99, true), (101, false), (105, false)], Sale::None, 106, Closed::Say);
        check(&[(50, true), (60, false), (70, true)], Sale::None, 100, Closed::Say);
        check(&[], Sale::None, 100, not_held);
        check(&[(50, false)], Sale::UnderWay, 100, not_held);
    }

    #[test]
    fn what_does_not_expire_never_closes() {
        for expiry in [Expiry::NotRead, Expiry::Never] {
            let sight = Sight { seen_at: Some(at(1)), looked_at: Some(at(1)), expiry, ..Sight::default() };
            let watched = Watched { pull: PullId(uuid::Uuid::nil()), pack: PackId::new("p").unwrap(), sight, sale: Sale::None };
            assert_eq!(closed(&watched, false, at(100)), Closed::Never(Unsaid::NoExpiry));
        }
    }
}
