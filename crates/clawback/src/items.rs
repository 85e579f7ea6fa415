//! A user's items as they stand, for the partners' API and for `list items`: what was drawn, and what looks at the inventory have
//! shown of it since.
//!
//! The store gives all pulls of a user at once, oldest first; they are filtered and paged in memory. Of what is asked for the newest
//! [`MOST`] are listed, and a page says how many older ones it leaves out.

use clawback_domain::{
    PullId, Time,
    event::PulledItem,
    item::{Pull, Standing},
};
use serde::Serialize;

/// A partner draws tens of items for a user, not thousands; a test account may.
pub const MOST: usize = 10_000;

/// Which part of the list.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub state: Option<Standing>,
    pub limit: u32,
    pub after: Option<PullId>,
}

#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    #[serde(flatten)]
    pub item: PulledItem<'a>,
    pub state: Standing,
    /// When the last good look at the user's inventory began.
    pub looked_at: Option<Time>,
}

impl<'a> From<&'a Pull> for Listed<'a> {
    fn from(pull: &'a Pull) -> Self {
        Self { item: pull.into(), state: pull.sight.standing(), looked_at: pull.sight.looked_at }
    }
}

#[derive(Debug, Serialize)]
pub struct Page<'a> {
    pub items: Vec<Listed<'a>>,
    /// What `after` takes for the page behind this one.
    pub next: Option<String>,
    /// Older ones that no page lists.
    pub omitted: usize,
}

/// `None` for a cursor that is not of this list.
pub fn read_cursor(text: &str) -> Option<PullId> {
    text.parse().ok()
}

/// `pulls`: all of a user, oldest first. `None` when what the page is to follow is not among them.
pub fn page<'a>(pulls: &'a [Pull], wanted: &Wanted) -> Option<Page<'a>> {
    // Its state may have changed since the page before: the place behind it is looked for among all.
    let behind = match wanted.after {
        Some(after) => pulls.iter().position(|pull| pull.id == after)? + 1,
        None => 0,
    };
    let is_wanted = |pull: &Pull| wanted.state.is_none_or(|state| pull.sight.standing() == state);
    let omitted = pulls.iter().filter(|pull| is_wanted(pull)).count().saturating_sub(MOST);
    let listed = pulls.iter().enumerate().filter(|(_, pull)| is_wanted(pull)).skip(omitted);
    let mut rest = listed.filter(|(place, _)| *place >= behind).map(|(_, pull)| pull);
    let items: Vec<Listed<'a>> = rest.by_ref().take(wanted.limit as usize).map(Listed::from).collect();
    let last = items.last().filter(|_| rest.next().is_some());
    let next = last.map(|last| last.item.pull_id.0.simple().to_string());
    Some(Page { items, next, omitted })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawback_domain::{
        ItemId, Money, PackId, PartnerId, PurchaseId, RequestId, UserId,
        clock::after,
        item::{Attribute, Expiry, Item, Shown},
    };
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn pull(position: u32) -> Pull {
        let partner = PartnerId::new("acme").unwrap();
        let purchase = PurchaseId::of(&partner, &RequestId::new("r").unwrap());
        Pull {
            id: PullId::of(purchase, position),
            purchase,
            position,
            partner,
            user_id: UserId::new("kim").unwrap(),
            pack_id: PackId::new("rookie").unwrap(),
            item: Item::bare(ItemId::new(format!("item-{position}")).unwrap()),
            created_at: Time::UNIX_EPOCH,
            sight: Default::default(),
            sale: None,
            told: Default::default(),
        }
    }

    fn seen(position: u32, expiry: Expiry) -> Pull {
        let mut pull = pull(position);
        pull.sight = pull.sight.after(Time::UNIX_EPOCH, Some(Shown { expiry, ..Shown::default() }));
        pull
    }

    /// Seen once, and since then missed by looks a minute apart.
    fn missed(position: u32, looks: u32) -> Pull {
        let mut pull = seen(position, Expiry::NotRead);
        for look in 1..=looks {
            pull.sight = pull.sight.after(after(Time::UNIX_EPOCH, MINUTE * look), None);
        }
        pull
    }

    fn all(state: Option<Standing>) -> Wanted {
        Wanted { state, limit: 500, after: None }
    }

    #[test]
    fn an_item_says_what_is_known_of_it() {
        let mut drawn = seen(0, Expiry::At(after(Time::UNIX_EPOCH, MINUTE)));
        drawn.item.buyback_price = Some(Money::parse_usd("19.92").unwrap());
        drawn.item.attributes = vec![Attribute { trait_type: "Grade".into(), value: json!(9.5) }];
        let never = seen(1, Expiry::Never);
        let pulls = [drawn, never, pull(2)];
        let items = serde_json::to_value(page(&pulls, &all(None)).unwrap()).unwrap()["items"].take();
        assert_eq!(items[0]["pull_id"], pulls[0].id.to_string());
        assert_eq!((&items[0]["buyback_price"], &items[0]["currency"]), (&json!("19.92"), &json!("USD")));
        assert_eq!(items[0]["attributes"], json!([{ "trait_type": "Grade", "value": 9.5 }]));
        for (item, state, looked_at, expires_at, known) in [
            (&items[0], "held", json!("1970-01-01T00:00:00Z"), json!("1970-01-01T00:01:00Z"), true),
            (&items[1], "held", json!("1970-01-01T00:00:00Z"), json!(null), true),
            (&items[2], "not_seen", json!(null), json!(null), false),
        ] {
            assert_eq!((&item["state"], &item["looked_at"]), (&json!(state), &looked_at), "{item}");
            assert_eq!((&item["expires_at"], &item["expiry_known"]), (&expires_at, &json!(known)), "{item}");
        }
    }

    #[test]
    fn a_state_is_what_the_looks_make_of_it() {
        let pulls = [pull(0), seen(1, Expiry::NotRead), missed(2, 1), missed(3, 3)];
        for (place, state) in [Standing::NotSeen, Standing::Held, Standing::Missing, Standing::Gone].into_iter().enumerate() {
            let page = page(&pulls, &all(Some(state))).unwrap();
            assert_eq!(page.items.len(), 1, "{state}");
            assert_eq!((page.items[0].item.pull_id, page.items[0].state), (pulls[place].id, state));
        }
    }

    #[test]
    fn pages_follow_one_another_even_where_a_state_has_changed_meanwhile() {
        let mut pulls: Vec<_> = (0..5).map(|position| seen(position, Expiry::NotRead)).collect();
        let positions = |page: &Page<'_>| page.items.iter().map(|listed| listed.item.item_id.to_string()).collect::<Vec<_>>();
        let wanted = Wanted { limit: 2, ..all(Some(Standing::Held)) };
        let first = page(&pulls, &wanted).unwrap();
        assert_eq!(positions(&first), ["item-0", "item-1"]);
        let after = read_cursor(&first.next.unwrap());
        pulls[1] = missed(1, 1);
        let second = page(&pulls, &Wanted { after, ..wanted }).unwrap();
        assert_eq!(positions(&second), ["item-2", "item-3"]);
        let last = page(&pulls, &Wanted { after: read_cursor(&second.next.unwrap()), ..wanted }).unwrap();
        assert_eq!((positions(&last), last.next), (vec!["item-4".to_owned()], None));

        let full = page(&pulls, &Wanted { limit: 5, ..all(None) }).unwrap();
        assert_eq!((full.items.len(), full.next), (5, None), "there is nothing behind a page that is just full");
        assert!(page(&pulls, &Wanted { after: Some(pull(9).id), ..wanted }).is_none());
        assert_eq!(read_cursor("x"), None);
    }

    #[test]
    fn of_very_many_the_newest_are_listed_and_the_rest_is_told() {
        let pulls: Vec<_> = (0..MOST as u32 + 3).map(pull).collect();
        let page = page(&pulls, &all(None)).unwrap();
        assert_eq!((page.items[0].item.pull_id, page.omitted), (pulls[3].id, 3));
    }
}
