//! What automatic sales would come to, as far as the looks have told and if nothing changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clawback_domain::{
    Currency, Money, Time, UserId,
    clock::after,
    command::Target,
    item::{Expiry, Pull},
    user::Watching,
    warning::{Sale, SaleRule, Unsold, UserSettings, Watched, foresee, queue},
};
use clawback_store::Store;
use serde::Serialize;

use crate::{
    config::{Partner, show_duration},
    failure::Failure,
    kind::price,
};

/// A preview reads no more items than this; that there are more is told.
const MOST: u32 = 20_000;

/// What would be sold of all whose span begins within a time.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sales {
    within: String,
    sales: usize,
    /// By the prices as last read; `null` when it is more than money can say.
    total: Option<Money>,
    currency: &'static str,
    first_at: Option<Time>,
    last_at: Option<Time>,
    /// These could not all be sold in time at the partner's rate.
    too_late: usize,
    skipped: BTreeMap<Unsold, usize>,
    rate_per_second: u32,
    /// Not all items were read.
    incomplete: bool,
}

/// What of a user decides about sales.
#[derive(Debug, Default)]
struct User {
    settings: UserSettings,
    selling: Vec<Target>,
}

impl From<Watching> for User {
    fn from(watching: Watching) -> Self {
        Self { settings: watching.user.settings, selling: watching.selling }
    }
}

fn add_up(rule: &SaleRule, pulls: &[Pull], users: &BTreeMap<UserId, User>, rate_per_second: u32, now: Time) -> Sales {
    let (mut sold, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    let unknown = User::default();
    for pull in pulls {
        let user = users.get(&pull.user_id).unwrap_or(&unknown);
        match foresee(rule, &watched(pull, user), pull.item.buyback_price, &user.settings, now) {
            Ok(()) => drop(sold.insert(pull.id, pull)),
            Err(why) => *skipped.entry(why).or_insert(0) += 1,
        }
    }
    let expiry = |pull: &Pull| if let Expiry::At(at) = pull.sight.expiry { Some(at) } else { None };
    let due: Vec<_> = sold.values().filter_map(|pull| Some((pull.id, expiry(pull)?))).collect();
    let queue = queue(rule, &due, rate_per_second, now);
    let prices = queue.sales.iter().filter_map(|(id, _)| sold.get(id)?.sight.price);
    Sales {
        within: String::new(),
        sales: queue.sales.len(),
        total: prices.into_iter().try_fold(Money::usd(0), |sum, price| sum.checked_add(price)),
        currency: Currency::default().code(),
        first_at: queue.sales.iter().map(|(_, at)| *at).min(),
        last_at: queue.sales.iter().map(|(_, at)| *at).max(),
        too_late: queue.too_late.len(),
        skipped,
        rate_per_second,
        incomplete: false,
    }
}

fn watched(pull: &Pull, user: &User) -> Watched {
    let is_asked_for = |target: &Target| match target {
        Target::Pull(id) => *id == pull.id,
        Target::Item(item) => *item == pull.item.item_id,
    };
    let handed_over = pull.told.offered_at.is_some();
    let sale = match pull.sale {
        Some(_) => Sale::Sold,
        None if handed_over || user.selling.iter().any(is_asked_for) => Sale::UnderWay,
        None => Sale::None,
    };
    Watched { pull: pull.id, pack: pull.pack_id.clone(), sight: pull.sight, sale }
}

impl Sales {
    /// # Errors
    /// The store.
    pub async fn read(
        store: &dyn Store,
        partner: &Partner,
        rule: &SaleRule,
        within: Duration,
        now: Time,
    ) -> Result<Self, Failure> {
        let until = after(after(now, within), rule.at());
        let pulls = store.expiring(&partner.id, now, until, MOST).await?;
        let mut users = BTreeMap::new();
        for user in pulls.iter().map(|pull| &pull.user_id).collect::<BTreeSet<_>>() {
            let watching = store.watching(&partner.id, user).await?;
            users.insert(user.clone(), watching.map(User::from).unwrap_or_default());
        }
        let rate = partner.settings.sell.rate_per_second;
        let incomplete = pulls.len() as u32 == MOST;
        Ok(Self { within: show_duration(within), incomplete, ..add_up(rule, &pulls, &users, rate, now) })
    }

    pub fn text(&self) -> Vec<String> {
        let total = self.total.map_or_else(|| "too much to say".into(), price);
        let at = |time: Time| time.format("%Y-%m-%d %H:%M:%SZ");
        let mut sentences = vec![match self.first_at.zip(self.last_at) {
            None => format!("Within {} nothing would be sold.", self.within),
            Some((first, last)) => format!(
                "Within {} {} would be sold, between {} and {}, by the prices as last read for {total}.",
                self.within,
                self.sales,
                at(first),
                at(last)
            ),
        }];
        if self.too_late > 0 {
            sentences.push(format!("{} would come too late at {} a second.", self.too_late, self.rate_per_second));
        }
        if !self.skipped.is_empty() {
            let reasons: Vec<_> = self.skipped.iter().map(|(why, count)| format!("{count} {why}")).collect();
            sentences.push(format!("Not sold: {}.", reasons.join(", ")));
        }
        if self.incomplete {
            sentences.push(format!("There are more than {MOST}; the others were not looked at."));
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use clawback_domain::{
        ItemId, PackId, PartnerId, PullId, PurchaseId,
        item::{Item, Sight, Told},
    };

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// From 30 to 5 minutes before, for 5.00 or more.
    fn rule() -> SaleRule {
        SaleRule::new(30 * MINUTE, 5 * MINUTE, None, Some(Money::usd(5_000_000))).unwrap()
    }

    fn at(minute: u32) -> Time {
        after(Time::UNIX_EPOCH, MINUTE * minute)
    }

    /// Seen in minute 0, at this price in dollars.
    fn pull(user: &str, position: u32, expires: u32, dollars: i64) -> Pull {
        let purchase = PurchaseId(uuid::Uuid::from_u128(5));
        let (seen, expiry) = (Some(at(0)), Expiry::At(at(expires)));
        Pull {
            id: PullId::of(purchase, position),
            purchase,
            position,
            partner: PartnerId::new("acme").unwrap(),
            user_id: UserId::new(user).unwrap(),
            pack_id: PackId::new("rookie").unwrap(),
            item: Item::bare(ItemId::new(format!("card-{position}")).unwrap()),
            created_at: at(0),
            sight: Sight {
                looked_at: seen,
                seen_at: seen,
                expiry,
                price: Some(Money::usd(dollars * 1_000_000)),
                ..Sight::default()
            },
            sale: None,
            told: Told::default(),
        }
    }

    #[test]
    fn sales_are_counted_with_their_sum_and_the_rest_by_its_reason() {
        let handed_over = Told { offered_at: Some(at(90)), ..Told::default() };
        let pulls = [
            pull("kim", 0, 105, 9),
            pull("kim", 1, 130, 8),
            pull("kim", 2, 130, 4),
            pull("kim", 3, 104, 8),
            pull("kim", 4, 130, 8),
            pull("jo", 5, 130, 8),
            Pull { told: handed_over, ..pull("kim", 6, 130, 8) },
            pull("nobody-knows", 7, 131, 20),
        ];
        let out = UserSettings { auto_sell: false, ..UserSettings::default() };
        let card = ItemId::new("card-4").unwrap();
        let users = BTreeMap::from([
            (UserId::new("kim").unwrap(), User { selling: vec![Target::Item(card)], ..User::default() }),
            (UserId::new("jo").unwrap(), User { settings: out, ..User::default() }),
        ]);
        let sales = Sales { within: "1h".into(), ..add_up(&rule(), &pulls, &users, 1, at(99)) };
        assert_eq!(
            sales.text(),
            [
                "Within 1h 3 would be sold, between 1970-01-01 01:39:00Z and 1970-01-01 01:41:00Z, by the prices as last read for \
                 37.00 USD.",
                "Not sold: 1 opted_out, 2 under_way, 1 too_late, 1 price_too_low.",
            ]
        );
        assert_eq!((sales.sales, sales.total, sales.too_late), (3, Some(Money::usd(37_000_000)), 0));
    }

    #[test]
    fn what_the_rate_does_not_allow_is_told() {
        let pulls: Vec<_> = (0..100).map(|position| pull("kim", position, 106, 9)).collect();
        let sales = add_up(&rule(), &pulls, &BTreeMap::new(), 1, at(100));
        assert_eq!((sales.sales, sales.too_late), (60, 40));
        assert_eq!(sales.text()[1], "40 would come too late at 1 a second.");
        let none = Sales { within: "24h".into(), ..add_up(&rule(), &[], &BTreeMap::new(), 1, at(100)) };
        assert_eq!(none.text(), ["Within 24h nothing would be sold."]);
    }
}
