//! Whether an item may be sold now: what the look just before the call shows.
//!
//! The same look gives the price that `min_price` is held against and the copies that are compared after the call.

use std::time::Duration;

use super::{Copies, Holding, KnownCopy, MOST_HOLDERS, PullPlace, Sale, Sellback, holding::LAG, lacks::lacks_copies};
use crate::{
    ItemId, Money, OrderId, SellbackId, Time, UserId,
    answer::InventoryAnswer,
    clock::after,
    command::Target,
    evidence::Reading,
    item::{HeldItem, Pull, Standing},
    planted::{Bug, planted},
    reason::{FailureCode, WaitCode, Waiting},
};

/// What the store knows that bears on a sale, all of it as of one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SaleCase {
    /// The user's pulls of the item id, or the one that was asked for; oldest first.
    pub pulls: Vec<Pull>,
    /// Other users who may hold the same item id; one more than [`MOST_HOLDERS`] means more.
    pub holders: Vec<UserId>,
    /// Another sellback of the same item id that was called and is not settled.
    pub under_way: Option<OrderId>,
    /// What of the user's is being sold and not settled.
    pub selling: Vec<ItemId>,
    /// The last sales of the item id through us, whoever sold it: newest first, at most [`MOST_SALES`].
    pub sold: Vec<SoldCopy>,
    /// The unsold pulls of the item id, of the user and of the holders who are read: oldest first, at most [`MOST_KNOWN`].
    pub copies: Vec<KnownCopy>,
}

/// How many sales of an item id are looked back at.
pub const MOST_SALES: u32 = 16;

/// What a sellback sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoldCopy {
    pub by: SellbackId,
    pub user_id: UserId,
    /// Of the pull that was given away, as the inventory had it.
    pub purchased_at: Option<Time>,
    pub sold_at: Time,
}

impl SoldCopy {
    /// Whether a look that began at `read_at` may still show it.
    pub(super) fn may_be_behind(&self, read_at: Time) -> bool {
        read_at < after(self.sold_at, LAG)
    }
}

/// What may be sold, and at what price.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    pub item_id: ItemId,
    pub pull: Option<PullPlace>,
    pub price: Option<Money>,
    pub before: Holding,
    pub known_sales: Vec<SellbackId>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Readiness {
    Ready(Box<Listing>),
    /// Not now; `Waiting::until` says when to try again.
    Wait(Waiting),
    /// Never.
    Never(FailureCode, String),
}

/// A look that does not show the item is made again after this long, before it is believed.
const LOOK_AGAIN: Duration = Duration::from_secs(120);
/// How soon what could not be sold now is tried again.
pub const TRY_AGAIN: Duration = Duration::from_secs(15);

/// Which item id is meant, and which of the user's pulls: what can be told before any inventory is read.
pub fn list(sellback: &Sellback, case: &SaleCase, now: Time) -> Result<(ItemId, Option<PullPlace>), Readiness> {
    if case.under_way.is_some_and(|other| other != sellback.id) && !planted(Bug::SalesOverlap) {
        return Err(wait(WaitCode::ItemBusy, "another sellback of this item is not settled", after(now, TRY_AGAIN)));
    }
    let wanted = match &sellback.command.target {
        Target::Item(item) => return Ok((item.clone(), case.pulls.iter().find(|pull| may_be_held(pull)).map(place))),
        Target::Pull(pull) => case.pulls.iter().find(|known| known.id == *pull),
    };
    match wanted {
        None => Err(Readiness::Never(FailureCode::ItemNotFound, "no item of this user was drawn under this pull_id".into())),
        Some(pull) if pull.sale.is_some() && !planted(Bug::SoldPullSoldAgain) => {
            Err(Readiness::Never(FailureCode::ItemNotFound, "this pull was sold back already".into()))
        }
        Some(pull) => Ok((pull.item.item_id.clone(), Some(place(pull)))),
    }
}

fn place(pull: &Pull) -> PullPlace {
    PullPlace { purchase: pull.purchase, position: pull.position }
}

fn may_be_held(pull: &Pull) -> bool {
    !matches!(pull.standing(), Standing::Sold | Standing::Gone)
}

fn wait(code: WaitCode, message: &str, until: Time) -> Readiness {
    Readiness::Wait(Waiting { code, message: message.into(), until: Some(until) })
}

/// Whether it may be sold, by a look at the seller's inventory, which comes first among `readings`, and at those of the other holders.
pub fn readiness(sellback: &Sellback, case: &SaleCase, readings: &[(UserId, Reading)], now: Time) -> Readiness {
    let item_id = match list(sellback, case, now) {
        Ok((item_id, _)) => item_id,
        Err(not_now) => return not_now,
    };
    let unreadable = || wait(WaitCode::NotRead, "the inventory could not be read", after(now, TRY_AGAIN));
    let Some((_, Reading { answer, .. })) = readings.first() else { return unreadable() };
    let shown = match answer {
        InventoryAnswer::Read(inventory) => &inventory.items[..],
        InventoryAnswer::UserNotFound => &[],
        InventoryAnswer::Unauthorized | InventoryAnswer::Unreadable { .. } => return unreadable(),
    };
    let copies: Vec<_> = shown.iter().filter(|held| held.item.item_id == item_id).collect();
    let Some((pull, held)) = pick(&sellback.command.target, case, &copies) else { return not_shown(sellback, now) };
    let partial = case.holders.len() > MOST_HOLDERS as usize;
    let Some(before) = Holding::of(&item_id, readings, partial) else { return unreadable() };
    if let Some(until) = shows_what_was_sold(case, &before) {
        return wait(WaitCode::ItemBusy, "the inventory may still show another copy that was just sold", until);
    }
    if lacks_copies(&item_id, &case.copies, readings) {
        return wait(WaitCode::NotRead, "the inventory does not show every copy that is known", after(now, TRY_AGAIN));
    }
    let price = held.item.buyback_price;
    // The upstream takes whichever copy it likes; one whose price cannot be read may be the cheapest.
    let least_price = copies.iter().map(|held| held.item.buyback_price).min().flatten();
    match (sellback.command.min_price, least_price) {
        (Some(least), Some(price)) if price < least => Readiness::Never(
            FailureCode::PriceBelowMinimum,
            format!("the price just read is {price} USD, less than the {least} USD asked for"),
        ),
        (Some(_), None) => {
            wait(WaitCode::NotRead, "the inventory does not tell a price to hold min_price against", after(now, TRY_AGAIN))
        }
        _ => {
            let known = case.sold.iter().filter(|sold| sold.may_be_behind(before.read_at));
            let known_sales = known.map(|sold| sold.by).collect();
            Readiness::Ready(Box::new(Listing { item_id, pull, price, before, known_sales }))
        }
    }
}

/// The pull to give away, and its copy: where dates tell, that of the oldest pull which is shown; else the oldest that may be it, and the
/// cheapest copy. Of an item that was asked for by its id, a copy that no pull of ours explains will do.
fn pick<'a>(target: &Target, case: &SaleCase, copies: &[&'a HeldItem]) -> Option<(Option<PullPlace>, &'a HeldItem)> {
    let candidates = || case.pulls.iter().filter(|pull| may_be_meant(target, pull));
    let shown = |pull: &Pull| {
        let date = pull.sight.purchased_at?;
        copies.iter().find(|copy| copy.purchased_at == Some(date)).copied()
    };
    if let Some(surely) = candidates().find_map(|pull| Some((Some(place(pull)), shown(pull)?))) {
        return Some(surely);
    }
    let cheapest = copies.iter().copied().min_by_key(|copy| copy.item.buyback_price)?;
    let undated = |pull: &&Pull| pull.sight.purchased_at.is_none() || copies.iter().any(|copy| copy.purchased_at.is_none());
    match (candidates().find(undated), target) {
        (Some(pull), _) => Some((Some(place(pull)), cheapest)),
        (None, Target::Item(_)) => Some((None, cheapest)),
        (None, Target::Pull(_)) => None,
    }
}

fn may_be_meant(target: &Target, pull: &Pull) -> bool {
    match target {
        Target::Item(item) => pull.item.item_id == *item && may_be_held(pull),
        Target::Pull(id) => pull.id == *id,
    }
}

/// Whether a sale of the item was stored between the look that opened a door and the door: asked once the door stands, when no other sale of
/// it can begin. The pull to give away may be gone, and the price was another copy's.
pub fn is_outrun(sale: &Sale, case: &SaleCase) -> bool {
    sale.sold_by_others(&case.sold) > 0
}

/// Until when this look may be behind a sale of ours: then a copy that it shows could leave without any call to come. A sale whose copy
/// it does not show any more, it has seen.
fn shows_what_was_sold(case: &SaleCase, before: &Holding) -> Option<Time> {
    if planted(Bug::SaleLagIgnored) {
        return None;
    }
    let in_sight = |sold: &&SoldCopy| {
        let may_be = |copies: &Copies| match (sold.purchased_at, copies.purchased_at) {
            (Some(sold), Some(shown)) => sold == shown,
            (None, _) | (_, None) => true,
        };
        before.copies.iter().any(|copies| copies.user_id == sold.user_id && may_be(copies))
    };
    let full = case.sold.len() >= MOST_SALES as usize;
    let oldest = case.sold.last().filter(|_| full);
    let doubtful = case.sold.iter().filter(in_sight).chain(oldest).map(|sold| after(sold.sold_at, LAG));
    doubtful.filter(|until| before.read_at < *until).max()
}

/// One look that does not show it may be behind; two, some minutes apart, are believed.
fn not_shown(sellback: &Sellback, now: Time) -> Readiness {
    match sellback.state.waiting() {
        Some(Waiting { code: WaitCode::NotShown, until: Some(until), .. }) if now >= *until => {
            let message = "two looks at the user's inventory, minutes apart, did not show it".into();
            Readiness::Never(FailureCode::ItemNotFound, message)
        }
        Some(Waiting { code: WaitCode::NotShown, until: Some(until), .. }) => {
            wait(WaitCode::NotShown, "the user's inventory does not show it", *until)
        }
        Some(_) | None => wait(WaitCode::NotShown, "the user's inventory does not show it", after(now, LOOK_AGAIN)),
    }
}
