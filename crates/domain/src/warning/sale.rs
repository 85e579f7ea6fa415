//! Selling automatically before the window shuts.
//!
//! Money is at stake, so every doubt means *not now*: what is sold was shown by a good look at most a minute old, with a price that
//! both minima allow. The sellback takes [`SaleRule::floor`] along as its own `min_price`, so that it asks again just before its call.

use std::time::Duration;

use super::{
    row::{Watched, sooner},
    rules::{RuleError, UserSettings},
};
use crate::{
    Money, Time,
    item::{Expiry, Standing},
    reason::codes,
};

/// When and for what an item may be sold without anybody asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleRule {
    at: Duration,
    stop_before: Duration,
    min_share: Option<u32>,
    min_price: Option<Money>,
}

/// One, in millionths.
const WHOLE: u32 = 1_000_000;

impl SaleRule {
    /// `min_share` is in millionths of the price at purchase; both minima must hold.
    ///
    /// # Errors
    /// A span without length, a share above one, a negative price.
    pub fn new(
        at: Duration,
        stop_before: Duration,
        min_share: Option<u32>,
        min_price: Option<Money>,
    ) -> Result<Self, RuleError> {
        if stop_before >= at {
            return Err(RuleError::StopsBeforeItBegins { at, stop_before });
        }
        if min_share.is_some_and(|share| share > WHOLE) {
            return Err(RuleError::NotAShare);
        }
        if min_price.is_some_and(|price| price.millionths() < 0) {
            return Err(RuleError::NegativePrice);
        }
        Ok(Self { at, stop_before, min_share, min_price })
    }

    pub fn at(&self) -> Duration {
        self.at
    }

    pub fn stop_before(&self) -> Duration {
        self.stop_before
    }

    pub fn min_share(&self) -> Option<u32> {
        self.min_share
    }

    pub fn min_price(&self) -> Option<Money> {
        self.min_price
    }

    /// From when to when what expires at `expiry` may be sold; the end is not part of it.
    pub fn span(&self, expiry: Time) -> (Time, Time) {
        (sooner(expiry, self.at), sooner(expiry, self.stop_before))
    }

    /// The least price that both minima allow. `None`: any price does; or the share is of a price that nobody knows.
    pub fn floor(&self, at_purchase: Option<Money>) -> Option<Money> {
        let share = self.min_share.zip(at_purchase).map(|(share, price)| share_of(price, share));
        self.min_price.into_iter().chain(share).max_by_key(|money| money.millionths())
    }
}

/// `price × share`, rounded up: a minimum is never undercut by rounding. All prices are in the upstream's one currency.
fn share_of(price: Money, share: u32) -> Money {
    let scaled = i128::from(price.millionths()) * i128::from(share);
    let up = (scaled + i128::from(WHOLE) - 1).div_euclid(i128::from(WHOLE));
    Money::usd(i64::try_from(up).unwrap_or(i64::MAX))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Sell,
    NotYet {
        at: Time,
    },
    /// The last good look is too old to sell by.
    LookFirst,
    No(Unsold),
}

codes!(
    /// Why an item is not sold. What a later look can change is asked again until the span is over.
    Unsold {
        OptedOut = "opted_out",
        Sold = "sold",
        /// The user, or an earlier step, is selling it.
        UnderWay = "under_way",
        NotRead = "not_read",
        NoExpiry = "no_expiry",
        TooLate = "too_late",
        /// The last good look did not show it, or none ever did.
        NotSeen = "not_seen",
        Gone = "gone",
        NoPrice = "no_price",
        PriceTooLow = "price_too_low",
        /// There is a least share, of a price at purchase that nobody knows.
        NoPriceAtPurchase = "no_price_at_purchase",
        ShareTooLow = "share_too_low",
    }
);

/// Whether to sell `watched` now. `at_purchase` is the price that its purchase told.
pub fn sale(rule: &SaleRule, watched: &Watched, at_purchase: Option<Money>, settings: &UserSettings, now: Time) -> Verdict {
    if !settings.auto_sell {
        return Verdict::No(Unsold::OptedOut);
    }
    match watched.sale {
        super::Sale::None => {}
        super::Sale::UnderWay => return Verdict::No(Unsold::UnderWay),
        super::Sale::Sold => return Verdict::No(Unsold::Sold),
    }
    let (from, until) = match watched.sight.expiry {
        Expiry::NotRead => return Verdict::No(Unsold::NotRead),
        Expiry::Never => return Verdict::No(Unsold::NoExpiry),
        Expiry::At(expiry) => rule.span(expiry),
    };
    if now < from {
        Verdict::NotYet { at: from }
    } else if now >= until {
        Verdict::No(Unsold::TooLate)
    } else if !watched.is_fresh(now) {
        Verdict::LookFirst
    } else {
        by_look(rule, watched, at_purchase)
    }
}

/// What will be said of `watched` in its span if a look then shows what the last one did: `Ok` if it will be sold.
///
/// # Errors
/// Why it will not be sold.
pub fn foresee(
    rule: &SaleRule,
    watched: &Watched,
    at_purchase: Option<Money>,
    settings: &UserSettings,
    now: Time,
) -> Result<(), Unsold> {
    let verdict = match sale(rule, watched, at_purchase, settings, now) {
        Verdict::NotYet { .. } | Verdict::LookFirst => by_look(rule, watched, at_purchase),
        verdict @ (Verdict::Sell | Verdict::No(_)) => verdict,
    };
    if let Verdict::No(why) = verdict { Err(why) } else { Ok(()) }
}

fn by_look(rule: &SaleRule, watched: &Watched, at_purchase: Option<Money>) -> Verdict {
    match (watched.sight.standing(), watched.sight.price) {
        (Standing::Gone, _) => Verdict::No(Unsold::Gone),
        (Standing::Sold, _) => Verdict::No(Unsold::Sold),
        (Standing::NotSeen | Standing::Missing, _) => Verdict::No(Unsold::NotSeen),
        (Standing::Held, None) => Verdict::No(Unsold::NoPrice),
        (Standing::Held, Some(price)) => by_price(rule, price, at_purchase),
    }
}

fn by_price(rule: &SaleRule, price: Money, at_purchase: Option<Money>) -> Verdict {
    if rule.min_price.is_some_and(|least| price < least) {
        return Verdict::No(Unsold::PriceTooLow);
    }
    match (rule.min_share, at_purchase) {
        (None, _) => Verdict::Sell,
        (Some(_), None) => Verdict::No(Unsold::NoPriceAtPurchase),
        (Some(share), Some(then)) if price < share_of(then, share) => Verdict::No(Unsold::ShareTooLow),
        (Some(_), Some(_)) => Verdict::Sell,
    }
}
