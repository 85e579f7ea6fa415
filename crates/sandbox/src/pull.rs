//! What comes out of a claw machine: weighted by tier, uniform within it.

use std::{cell::OnceCell, sync::Arc, time::Duration};

use clawback_domain::{Time, clock};

use crate::{
    catalogue::{self, Cents, Listing, PackSpec, Tier},
    chance::Chance,
    options::{Mode, Windows},
};

/// An item as an answer shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    pub listing: Arc<Listing>,
    /// The listing's own id in the sandbox, one of its own in production.
    pub id: Arc<str>,
    pub price: Cents,
}

/// What is on chain has a mint address equal to its id, a collection and a standard; eBay's items never are.
impl Pulled {
    pub fn mint_address(&self) -> Option<&str> {
        self.on_chain(&self.id)
    }

    pub fn collection_address(&self) -> Option<&str> {
        self.on_chain("CoLLectionMadeUp1111111111111111111111111111")
    }

    pub fn token_standard(&self) -> Option<&str> {
        self.on_chain("ProgrammableNonFungible")
    }

    fn on_chain<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.listing.is_minted().then_some(text)
    }
}

/// One item of one purchase, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    /// With the price of `buy/init`.
    pub(crate) pulled: Pulled,
    value: Cents,
    /// Production: paid back with at least the pack's price.
    voucher: bool,
    pub(crate) expires_at: Option<Time>,
    /// When it was sold back or left otherwise.
    pub(crate) gone_at: Option<Time>,
}

impl Pull {
    /// Its window, if it has one, shuts between these spans from now.
    pub(crate) fn closing(self, chance: &mut Chance, within: Windows, now: Time) -> Self {
        let Some((least, most)) = within else { return self };
        let spread = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        let later = |_| clock::after(now, least + Duration::from_micros(chance.below(spread.max(1))));
        Self { expires_at: self.expires_at.map(later), ..self }
    }

    pub(crate) fn is_held(&self, at: Time) -> bool {
        self.gone_at.is_none_or(|gone| gone > at)
    }

    pub(crate) fn is_expired(&self, at: Time) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= at)
    }

    /// Sandbox: frozen at `buy/init`. Production: read again from the oracle, whose mind changes by the hour.
    pub(crate) fn price(&self, mode: Mode, pack: &PackSpec, at: Time) -> Cents {
        match mode {
            Mode::Sandbox => self.pulled.price,
            Mode::Production => live_price(&self.pulled.id, self.value, self.voucher, pack, at),
        }
    }
}

/// The oracle: within 4 % of the value, another number each hour; `max(mint_price, …)` on the voucher path.
fn live_price(id: &str, value: Cents, voucher: bool, pack: &PackSpec, at: Time) -> Cents {
    const MOST_PER_MILLE: u64 = 40;
    let hour = at.timestamp().div_euclid(3600) as u64;
    let per_mille = 1000 - MOST_PER_MILLE + Chance::new(hour, id).below(2 * MOST_PER_MILLE + 1);
    let price = Cents(value.0 * per_mille / 1000).buyback();
    if voucher { price.max(pack.mint_price) } else { price }
}

/// A pack and what is listed in it.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) pack: Arc<PackSpec>,
    tiers: Vec<Vec<Place>>,
}

/// A listing that is made up when it is first drawn: a simulation makes engines by the thousand and draws little from each.
#[derive(Debug)]
struct Place {
    seed: u64,
    listing: OnceCell<Arc<Listing>>,
}

impl Shelf {
    pub(crate) fn new(chance: &mut Chance, pack: PackSpec) -> Self {
        let mut place = || Place { seed: chance.draw(), listing: OnceCell::new() };
        let tiers = pack.tiers.iter().map(|tier| (0..tier.listings).map(|_| place()).collect()).collect();
        Self { pack: Arc::new(pack), tiers }
    }

    /// Disabled, not in stock, and nothing listed in any tier are one and the same to a buyer.
    pub(crate) fn can_be_bought_from(&self) -> bool {
        self.pack.enabled && self.pack.in_stock && self.listed_weight() > 0
    }

    /// Call it only when something can be bought.
    pub(crate) fn pull(&self, chance: &mut Chance, mode: Mode, now: Time) -> Pull {
        let (tier, places) = self.draw_tier(chance);
        let place = chance.pick(places);
        let made_up = || Arc::new(catalogue::listing(&mut Chance::new(place.seed, "listing"), tier));
        let listing = Arc::clone(place.listing.get_or_init(made_up));
        match mode {
            Mode::Sandbox => sandbox_pull(listing, now),
            Mode::Production => self.production_pull(chance, tier, listing, now),
        }
    }

    fn production_pull(&self, chance: &mut Chance, tier: &Tier, listing: Arc<Listing>, now: Time) -> Pull {
        let id: Arc<str> = catalogue::item_id(chance, listing.kind).into();
        let value = catalogue::value_within(chance, tier);
        let voucher = chance.hits(0.05);
        let price = live_price(&id, value, voucher, &self.pack, now);
        let expires_at = match chance.below(10) {
            0 => None,
            1 => Some(days_after(now, 3)),
            2 => Some(days_after(now, 14)),
            _ => Some(days_after(now, SANDBOX_DAYS)),
        };
        Pull { pulled: Pulled { listing, id, price }, value, voucher, expires_at, gone_at: None }
    }

    fn draw_tier(&self, chance: &mut Chance) -> (&Tier, &[Place]) {
        let mut ticket = chance.below(self.listed_weight());
        for (tier, places) in self.listed() {
            match ticket.checked_sub(u64::from(tier.weight)) {
                Some(rest) => ticket = rest,
                None => return (tier, places),
            }
        }
        unreachable!("the ticket is below the sum of the weights")
    }

    fn listed_weight(&self) -> u64 {
        self.listed().map(|(tier, _)| u64::from(tier.weight)).sum()
    }

    fn listed(&self) -> impl Iterator<Item = (&Tier, &[Place])> {
        self.pack.tiers.iter().zip(self.tiers.iter().map(Vec::as_slice)).filter(|(_, places)| !places.is_empty())
    }
}

/// The sandbox's buyback window.
const SANDBOX_DAYS: u64 = 7;

fn sandbox_pull(listing: Arc<Listing>, now: Time) -> Pull {
    let (id, value) = (Arc::clone(&listing.id), listing.value);
    Pull {
        pulled: Pulled { listing, id, price: value.buyback() },
        value,
        voucher: false,
        expires_at: Some(days_after(now, SANDBOX_DAYS)),
        gone_at: None,
    }
}

fn days_after(now: Time, days: u64) -> Time {
    clock::after(now, Duration::from_secs(days * 24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> Shelf {
        Shelf::new(&mut Chance::new(1, "test"), PackSpec::new("p", "P", Cents(10_000), 5))
    }

    #[test]
    fn tiers_come_as_often_as_they_weigh() {
        let (shelf, mut chance) = (shelf(), Chance::new(2, "test"));
        let mut counts = std::collections::BTreeMap::<_, u32>::new();
        for _ in 0..10_000 {
            *counts.entry(shelf.draw_tier(&mut chance).0.name.clone()).or_default() += 1;
        }
        for (tier, around) in [("Common", 8000), ("Rare", 1500), ("Epic", 400), ("Mythic", 100)] {
            assert!(counts[tier].abs_diff(around) < around / 4, "{tier}: {}", counts[tier]);
        }
    }

    #[test]
    fn the_sandbox_freezes_prices_and_production_asks_again() {
        let (shelf, mut chance) = (shelf(), Chance::new(2, "test"));
        let (now, later) = (Time::UNIX_EPOCH, days_after(Time::UNIX_EPOCH, 2));
        let moved = |mode, chance: &mut Chance| {
            let pull = shelf.pull(chance, mode, now);
            assert_eq!(pull.price(mode, &shelf.pack, now), pull.pulled.price);
            pull.price(mode, &shelf.pack, later) != pull.pulled.price
        };
        assert!((0..100).all(|_| !moved(Mode::Sandbox, &mut chance)));
        assert!((0..100).any(|_| moved(Mode::Production, &mut chance)));
    }

    #[test]
    fn only_production_has_items_without_expiry_and_vouchers() {
        let (shelf, mut chance) = (shelf(), Chance::new(2, "test"));
        let mut pulls = |mode| (0..500).map(|_| shelf.pull(&mut chance, mode, Time::UNIX_EPOCH)).collect::<Vec<_>>();
        assert!(
            pulls(Mode::Sandbox).iter().all(|pull| pull.expires_at == Some(days_after(Time::UNIX_EPOCH, 7)) && !pull.voucher)
        );
        let real = pulls(Mode::Production);
        assert!(real.iter().any(|pull| pull.expires_at.is_none()));
        assert!(real.iter().filter(|pull| pull.voucher).all(|pull| pull.pulled.price >= shelf.pack.mint_price));
        assert!(real.iter().any(|pull| pull.voucher) && real.iter().any(|pull| pull.pulled.price < shelf.pack.mint_price));
    }
}
