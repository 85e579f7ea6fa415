//! What an account held of one item id, before a call and after: the evidence for what the call came to.
//!
//! Item ids repeat: several users, and one user several times, may hold the same one, and the upstream takes whichever copy it likes.
//! So copies are told apart by who holds them and when they were bought, and what counts is which of those that were there just
//! before the call are not there any more. What came since is another purchase's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Doubt, Sale, SoldCopy};
use crate::{
    ItemId, Time, UserId,
    answer::InventoryAnswer,
    clock::after,
    evidence::Reading,
    order::Rules,
    planted::{Bug, planted},
    reason::ReviewCode,
};

/// How many other users' inventories are read besides the seller's.
pub const MOST_HOLDERS: u32 = 4;

/// How many copies are told apart.
pub const MOST_COPIES: usize = 64;

/// How long after an attempt's deadline its sale may still show in the inventory. `buyback` is "instant"; the rest is for a slow one.
const SALE_WINDOW: Duration = Duration::from_secs(10 * 60);

/// By how much an inventory may be behind: until then a copy that is still shown tells nothing.
pub(super) const LAG: Duration = Duration::from_secs(60);

/// The copies of one item id in an account, as good looks showed them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Holding {
    /// When the first of the looks began.
    pub read_at: Time,
    /// By holder and time of purchase; at most [`MOST_COPIES`].
    pub copies: Vec<Copies>,
    /// There may be more, with users who were not looked at or beyond the bound: then a copy that is still there proves nothing.
    #[serde(default)]
    pub partial: bool,
}

/// Copies that nothing tells apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Copies {
    pub user_id: UserId,
    /// By the upstream's clock.
    pub purchased_at: Option<Time>,
    pub count: u32,
}

impl Holding {
    /// What is kept of a look. `None` when it is not good: then it shows nothing.
    pub fn of(item: &ItemId, readings: &[(UserId, Reading)], partial: bool) -> Option<Self> {
        let whole = Self::whole(item, readings)?;
        let partial = partial || whole.copies.len() > MOST_COPIES;
        let copies = whole.copies.into_iter().take(MOST_COPIES).collect();
        Some(Self { copies, partial, ..whole })
    }

    /// Every copy that a look shows. An unknown user is no user without items: we know of one.
    fn whole(item: &ItemId, readings: &[(UserId, Reading)]) -> Option<Self> {
        let mut copies: BTreeMap<(UserId, Option<Time>), u32> = BTreeMap::new();
        for (user, reading) in readings {
            let InventoryAnswer::Read(inventory) = &reading.answer else { return None };
            for held in inventory.items.iter().filter(|held| held.item.item_id == *item) {
                *copies.entry((user.clone(), held.purchased_at)).or_default() += 1;
            }
        }
        let read_at = readings.iter().map(|(_, reading)| reading.began).min()?;
        let copies = copies.into_iter().map(|((user_id, purchased_at), count)| Copies { user_id, purchased_at, count });
        Some(Self { read_at, copies: copies.collect(), partial: false })
    }

    pub fn count(&self) -> u32 {
        self.copies.iter().map(|copies| copies.count).sum()
    }

    /// How many copies of `before` are not here any more, of each of its holders who lacks one.
    fn departed<'a>(&self, before: &'a Self) -> BTreeMap<&'a UserId, u32> {
        let here = |copies: &Copies| {
            let same = |other: &&Copies| other.user_id == copies.user_id && other.purchased_at == copies.purchased_at;
            self.copies.iter().find(same).map_or(0, |other| other.count)
        };
        let mut departed = BTreeMap::new();
        for copies in &before.copies {
            let left = copies.count.saturating_sub(here(copies));
            if left > 0 {
                *departed.entry(&copies.user_id).or_default() += left;
            }
        }
        departed
    }

    /// Whether a copy that left could be hidden: by one that came and looks the same, or where nobody looks.
    fn can_hide_one(&self) -> bool {
        self.partial || self.copies.iter().any(|copies| copies.purchased_at.is_none())
    }

    /// Whose inventories must be read to compare; each once.
    pub fn holders(&self) -> impl Iterator<Item = &UserId> {
        self.copies.iter().map(|copies| &copies.user_id).collect::<BTreeSet<_>>().into_iter()
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => write!(f, "one copy is held"),
            count => write!(f, "{count} copies are held"),
        }
    }
}

/// Kept with a sellback in doubt, shown to people, carried by events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SaleEvidence {
    /// Why the outcome is in doubt.
    pub doubt: String,
    /// The HTTP status of the answer in doubt, where one was received.
    pub status: Option<u16>,
    /// When the attempt in doubt began.
    pub begun_at: Time,
    /// From then on a look counts.
    pub deadline: Time,
    /// From then on what is still there was not sold.
    pub window_ends_at: Time,
    /// What was held just before the call.
    pub before: Holding,
    /// How often the inventory was read.
    pub looked: u32,
    /// The last look.
    pub last: Option<SaleLook>,
    /// A look after the deadline, beyond any lag, that showed every copy still there.
    pub still_there_at: Option<Time>,
    /// Of those held before, how many other sellbacks sold before this one was called.
    #[serde(default)]
    pub sold_by_others: u32,
    /// The verdict in words.
    pub verdict: String,
}

/// One look after the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SaleLook {
    pub at: Time,
    /// Read to its end, for every holder.
    pub good: bool,
    pub count: u32,
    /// How many of those held before are not there any more, beside those that other sellbacks sold.
    pub departed: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SaleVerdict {
    /// Nothing yet; look again.
    Wait(String),
    /// It has left the inventory, and nobody else could have taken it.
    Sold,
    /// It is still there and nothing can come of the call any more.
    NotSold,
    /// A person must decide.
    Unclear(ReviewCode, String),
}

impl fmt::Display for SaleVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaleVerdict::Wait(why) => write!(f, "{why}"),
            SaleVerdict::Sold => write!(f, "it has left the inventory"),
            SaleVerdict::NotSold => write!(f, "it is still in the inventory"),
            SaleVerdict::Unclear(_, why) => write!(f, "{why}"),
        }
    }
}

/// A verdict and what it was drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    pub verdict: SaleVerdict,
    pub evidence: SaleEvidence,
}

/// One look after the call, to be weighed.
#[derive(Debug, Clone, Copy)]
pub struct After<'a> {
    /// Every holder's inventory, the seller's first.
    pub readings: &'a [(UserId, Reading)],
    /// It failed to show what it had to show beside the item, so that absence proves nothing.
    pub suspicious: bool,
    /// The last sales of the item id, as [`SaleCase::sold`](super::SaleCase::sold) has them.
    pub sold: &'a [SoldCopy],
}

impl Sale {
    /// How many sales of the item id were stored between the look and the door: their copies were there at the look, and left without
    /// any doing of this one's call. Behind the door there are none.
    pub fn sold_by_others(&self, sold: &[SoldCopy]) -> u32 {
        if planted(Bug::SaleLagIgnored) || planted(Bug::OtherSalesForgotten) {
            return 0;
        }
        let since = |sold: &&SoldCopy| sold.may_be_behind(self.before.read_at) && !self.known_sales.contains(&sold.by);
        sold.iter().filter(since).count() as u32
    }
}

/// Weighs one look. `known` is what the looks before left.
pub fn weigh(
    sale: &Sale,
    known: Option<&SaleEvidence>,
    doubt: (&str, Option<u16>),
    after_call: After<'_>,
    rules: &Rules,
) -> Weighed {
    let After { readings, suspicious, sold } = after_call;
    let deadline = sale.attempt.deadline;
    let window_ends_at = after(deadline, SALE_WINDOW.min(rules.reconcile.window));
    let mut evidence = SaleEvidence {
        doubt: doubt.0.into(),
        status: doubt.1,
        begun_at: sale.attempt.started_at,
        deadline,
        window_ends_at,
        before: sale.before.clone(),
        looked: known.map_or(0, |known| known.looked) + 1,
        last: None,
        still_there_at: known.and_then(|known| known.still_there_at),
        sold_by_others: sale.sold_by_others(sold),
        verdict: String::new(),
    };
    let began = readings.iter().map(|(_, reading)| reading.began).min().unwrap_or_default();
    let everybody = sale.before.holders().all(|holder| readings.iter().any(|(user, _)| user == holder));
    let verdict = match Holding::whole(&sale.item_id, readings).filter(|_| everybody && !suspicious) {
        None => not_readable(sale, &mut evidence, began, window_ends_at),
        Some(now) => {
            judge(sale, &mut evidence, &now, Known { before: known, seller: readings.first().map(|(user, _)| user) }, rules)
        }
    };
    evidence.verdict = verdict.to_string();
    Weighed { verdict, evidence }
}

fn not_readable(sale: &Sale, evidence: &mut SaleEvidence, at: Time, window_ends_at: Time) -> SaleVerdict {
    evidence.last = Some(SaleLook { at, good: false, count: 0, departed: 0 });
    // Bad looks are no evidence however many they are, and somebody waits.
    if at >= after(window_ends_at, SALE_WINDOW) {
        let why = format!("the inventory could not be read to tell what attempt {} came to", sale.attempt.number);
        return SaleVerdict::Unclear(ReviewCode::UnknownOutcome, why);
    }
    SaleVerdict::Wait("the inventory could not be read".into())
}

/// What a look is judged beside.
struct Known<'a> {
    before: Option<&'a SaleEvidence>,
    seller: Option<&'a UserId>,
}

impl Known<'_> {
    /// Of another holder than the seller one bad look is enough to miss a copy, and nothing tells that it is bad: two must agree.
    fn is_seen_once(&self, departed: &BTreeMap<&UserId, u32>) -> bool {
        let elsewhere = departed.keys().any(|user| Some(*user) != self.seller);
        let last = self.before.and_then(|known| known.last.as_ref());
        elsewhere && !last.is_some_and(|last| last.good && last.departed > 0)
    }
}

fn judge(sale: &Sale, evidence: &mut SaleEvidence, now: &Holding, known: Known<'_>, rules: &Rules) -> SaleVerdict {
    let by_holder = now.departed(&sale.before);
    let mut departed = by_holder.values().sum::<u32>().saturating_sub(evidence.sold_by_others);
    if planted(Bug::SalesBySet) && now.count() > 0 {
        departed = 0;
    }
    evidence.last = Some(SaleLook { at: now.read_at, good: true, count: now.count(), departed });
    let unclear = |why: &str| SaleVerdict::Unclear(ReviewCode::Ambiguous, why.into());
    if planted(Bug::SaleWindowIgnored) && departed == 0 {
        return SaleVerdict::NotSold;
    }
    if now.read_at < evidence.deadline {
        return SaleVerdict::Wait("the call may still be under way".into());
    }
    match departed {
        0 if now.read_at < evidence.window_ends_at => {
            if now.read_at >= after(evidence.deadline, LAG) && evidence.still_there_at.is_none() {
                evidence.still_there_at = Some(now.read_at);
            }
            SaleVerdict::Wait("it is still there".into())
        }
        0 if sale.before.can_hide_one() => unclear("nothing tells its copies from others of the same item"),
        0 => SaleVerdict::NotSold,
        _ if known.is_seen_once(&by_holder) => SaleVerdict::Wait("one look does not show another user's any more".into()),
        1 if !rules.exclusive => unclear("it has left the inventory, but other software sells with this key"),
        1 if evidence.still_there_at.is_some() => unclear("it left the inventory long after the call"),
        1 => SaleVerdict::Sold,
        _ => unclear("more of it left the inventory than one call sells"),
    }
}

impl Doubt {
    /// Weighs a look at what this doubt is about.
    pub fn weigh(&self, after_call: After<'_>, rules: &Rules) -> Weighed {
        let known = self.evidence.as_deref();
        let Weighed { verdict, mut evidence } = weigh(&self.sale, known, (&self.why, self.status), after_call, rules);
        // No call of ours did anything, so nothing that a look cannot tell was ours.
        let did_nothing = self.busy && !self.sale.retried;
        let still_there = |look: &SaleLook| look.good && look.departed == 0 && look.at >= evidence.window_ends_at;
        if did_nothing && evidence.last.as_ref().is_some_and(still_there) {
            evidence.verdict = SaleVerdict::NotSold.to_string();
            return Weighed { verdict: SaleVerdict::NotSold, evidence };
        }
        Weighed { verdict, evidence }
    }
}
