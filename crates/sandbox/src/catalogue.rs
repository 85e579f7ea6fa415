//! Claw machines: what is for sale, in which tiers, and the listings that can be drawn.

use std::sync::Arc;

use clawback_domain::Money;
use serde_json::{Value, json};

use crate::chance::Chance;

/// A price in hundredths of a USD. The upstream's prices have at most two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cents(pub u64);

impl Cents {
    pub fn money(self) -> Money {
        Money::usd(i64::try_from(self.0.saturating_mul(10_000)).unwrap_or(i64::MAX))
    }

    /// What is paid back: 85 % of the fair market value, to the nearest cent.
    pub(crate) fn buyback(self) -> Self {
        Self((self.0 * BUYBACK_PERCENT + 50) / 100)
    }
}

pub(crate) const BUYBACK_PERCENT: u64 = 85;

/// A claw machine, made up.
#[derive(Debug, Clone, PartialEq)]
pub struct PackSpec {
    pub id: String,
    pub slug: String,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub in_stock: bool,
    pub mint_price: Cents,
    /// The most pulls of one purchase.
    pub max_per_mint: u32,
    pub categories: Vec<String>,
    pub tiers: Vec<Tier>,
}

/// A rarity tier: how likely, and what its items are worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    pub name: String,
    pub color: String,
    /// Fair market value, from `lower` to below `upper`.
    pub lower: Cents,
    pub upper: Cents,
    pub weight: u32,
    /// How many different items the tier lists. With none, the tier is never drawn.
    pub listings: u32,
}

/// Few enough that the sandbox soon hands the same item out twice.
const LISTINGS_PER_TIER: u32 = 24;

impl PackSpec {
    /// An enabled pack in stock, with the four tiers of the documentation's example scaled to its price.
    pub fn new(id: &str, name: &str, mint_price: Cents, max_per_mint: u32) -> Self {
        let tier = |name: &str, color: &str, lower: u64, upper: u64, weight| Tier {
            name: name.to_owned(),
            color: color.to_owned(),
            lower: Cents(mint_price.0 * lower / 100),
            upper: Cents(mint_price.0 * upper / 100),
            weight,
            listings: LISTINGS_PER_TIER,
        };
        Self {
            id: id.to_owned(),
            slug: format!("{id}-claw"),
            name: name.to_owned(),
            description: format!("{name}, made up"),
            enabled: true,
            in_stock: true,
            mint_price,
            max_per_mint,
            categories: vec!["Baseball".to_owned()],
            tiers: vec![
                tier("Common", "#9ca3af", 60, 100, 80),
                tier("Rare", "#3b82f6", 100, 200, 15),
                tier("Epic", "#a855f7", 200, 500, 4),
                tier("Mythic", "#f59e0b", 500, 15_000, 1),
            ],
        }
    }
}

/// The packs of a sandbox that is given none: three to buy from, and one for each way of being out of stock.
pub fn made_up() -> Vec<PackSpec> {
    let mut sold_out = PackSpec::new("vault", "Vault", Cents(25_000), 2);
    sold_out.in_stock = false;
    let mut disabled = PackSpec::new("retired", "Retired", Cents(5_000), 5);
    disabled.enabled = false;
    let mut empty = PackSpec::new("empty", "Empty", Cents(5_000), 5);
    empty.tiers.iter_mut().for_each(|tier| tier.listings = 0);
    vec![
        PackSpec::new("rookie", "Rookie", Cents(2_500), 10),
        PackSpec::new("allstar", "All-Star", Cents(10_000), 5),
        PackSpec::new("legend", "Legend", Cents(50_000), 1),
        sold_out,
        disabled,
        empty,
    ]
}

/// One item as it is described everywhere; which id it gets, and what it is worth, the pull says.
#[derive(Debug, PartialEq)]
pub struct Listing {
    /// The id under which the sandbox hands it out, again and again.
    pub id: Arc<str>,
    /// `enft`, `ebay`, `fanatics`, `alt`, `external`.
    pub kind: &'static str,
    pub name: String,
    pub image: String,
    pub back_image: Option<String>,
    /// Years are strings and grades numbers, as in the wild.
    pub attributes: Vec<(&'static str, Value)>,
    pub(crate) value: Cents,
}

impl Listing {
    /// What was minted has a mint address equal to its id; eBay's items never are.
    pub fn is_minted(&self) -> bool {
        self.kind != "ebay"
    }
}

const KINDS: [&str; 8] = ["enft", "enft", "enft", "ebay", "ebay", "fanatics", "alt", "external"];
const FIRST: [&str; 12] = ["Juno", "Mateo", "Ines", "Otto", "Ravi", "Lena", "Tomas", "Noor", "Aiko", "Emil", "Zadie", "Bruno"];
const LAST: [&str; 12] =
    ["Sotero", "Falk", "Okafor", "Brandt", "Ueda", "Castell", "Moreau", "Lindqvist", "Abara", "Vidal", "Hartono", "Petrov"];

pub(crate) fn listing(chance: &mut Chance, tier: &Tier) -> Listing {
    let kind = *chance.pick(&KINDS);
    let id = item_id(chance, kind);
    let year = 2015 + chance.below(11);
    let name = format!("{year} {} {} #{}", chance.pick(&FIRST), chance.pick(&LAST), 1 + chance.below(400));
    let image = format!("https://cdn.phygitals.example/cards/{id}.png");
    let back_image = chance.hits(0.8).then(|| format!("https://cdn.phygitals.example/cards/{id}-back.png"));
    let attributes = vec![("Year", json!(year.to_string())), ("Tier", json!(tier.name)), ("Grade", json!(6 + chance.below(5)))];
    Listing { id: id.into(), kind, name, image, back_image, attributes, value: value_within(chance, tier) }
}

/// Uniform within the tier's range.
pub(crate) fn value_within(chance: &mut Chance, tier: &Tier) -> Cents {
    Cents(tier.lower.0 + chance.below(tier.upper.0.saturating_sub(tier.lower.0)))
}

/// A mint address, or eBay's own number.
pub(crate) fn item_id(chance: &mut Chance, kind: &str) -> String {
    const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    match kind {
        "ebay" => chance.text(b"0123456789", 15),
        _ => chance.text(BASE58, 44),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_back_is_85_percent_to_the_cent() {
        for (value, back) in [(1_000, 850), (11_588, 9_850), (1, 1), (10, 9), (0, 0)] {
            assert_eq!(Cents(value).buyback(), Cents(back), "{value}");
        }
        assert_eq!(Cents(850).money().to_string(), "8.50");
    }

    #[test]
    fn the_example_pack_of_the_documentation_has_its_tiers() {
        let pack = PackSpec::new("p", "P", Cents(10_000), 5);
        let tiers: Vec<_> = pack.tiers.iter().map(|t| (t.name.as_str(), t.lower.0 / 100, t.upper.0 / 100, t.weight)).collect();
        assert_eq!(tiers, [("Common", 60, 100, 80), ("Rare", 100, 200, 15), ("Epic", 200, 500, 4), ("Mythic", 500, 15_000, 1)]);
        assert_eq!(pack.tiers.iter().map(|tier| tier.weight).sum::<u32>(), 100);
    }

    #[test]
    fn a_listing_stays_within_its_tier() {
        let pack = PackSpec::new("p", "P", Cents(10_000), 5);
        let mut chance = Chance::new(3, "test");
        for tier in &pack.tiers {
            for _ in 0..200 {
                let listing = listing(&mut chance, tier);
                assert!(tier.lower <= listing.value && listing.value < tier.upper);
            }
        }
    }
}
