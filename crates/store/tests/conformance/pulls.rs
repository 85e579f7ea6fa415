use clawback_domain::{
    Money, PullId,
    change::{Change, Insertion},
    item::{Attribute, Item, Pull},
    purchase::Purchase,
};

use crate::{build::*, stage::Stage};

/// Everything an item may carry, and numbers that a float would not keep.
pub fn full_item(id: &str) -> Item {
    let text = |name: &str| Some(format!("{name} ünï \"quoted\" \\ 🎉\n"));
    let number = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let values = [number("12"), number("-1.5"), number("123456789012345678901234567890.25"), "shiny".into(), true.into()];
    let attribute = |(n, value)| Attribute { trait_type: format!("trait {n}"), value };
    Item {
        name: text("name"),
        image: text("image"),
        back_image: text("back"),
        kind: Some("ebay".into()),
        mint_address: text("mint"),
        collection_address: text("collection"),
        token_standard: Some("ProgrammableNonFungible".into()),
        attributes: values.into_iter().enumerate().map(attribute).collect(),
        buyback_price: Some(Money::usd(8_500_000)),
        other: serde_json::from_str(r#"{"grade":{"by":"PSA","of":[10,null,"é"]},"z":0.1,"a":18446744073709551616}"#).unwrap(),
        ..item(id)
    }
}

fn drawn(pending: &Purchase, items: Vec<Item>, seconds: i64) -> Change {
    let mut change = fulfilment(pending, at(seconds));
    let template = change.pulls[0].clone();
    let pull = |(position, item)| {
        let position = position as u32;
        Pull { id: PullId::of(pending.id, position), position, item, ..template.clone() }
    };
    change.pulls = items.into_iter().enumerate().map(pull).collect();
    change
}

pub async fn every_field_of_a_pull_reads_back_equal(store: Stage) {
    let pending = pending(&*store, acme(), "r-1", at(0)).await;
    let priced = |price| Item { buyback_price: price, ..full_item("priced") };
    let items = vec![
        item("bare"),
        full_item("full"),
        full_item("full"),
        priced(None),
        priced(Some(Money::usd(0))),
        priced(Some(Money::usd(1))),
        priced(Some(Money::usd(i64::MAX))),
        item(&"界".repeat(256)),
    ];
    let change = drawn(&pending, items, 1);
    applied(&*store, change.clone()).await;
    assert_eq!(store.pulls(pending.id).await.unwrap(), change.pulls);
    assert_eq!(store.pulls_of_user(&acme(), &user("user-1")).await.unwrap(), change.pulls);
}

pub async fn pulls_of_a_user_come_from_all_purchases_oldest_first(store: Stage) {
    let mut expected = Vec::new();
    for (request, seconds) in [("late", 30), ("early", 10), ("between", 20)] {
        let pending = pending(&*store, acme(), request, at(0)).await;
        let change = fulfilment(&pending, at(seconds));
        expected.push((seconds, change.pulls.clone()));
        applied(&*store, change).await;
    }
    fulfilled(&*store, beta(), "same user of another partner", at(15)).await;
    let mut command = command("another user");
    command.user_id = user("user-2");
    let row = stored(&*store, Insertion::of(Purchase::accept(acme(), command, at(0), trace()))).await;
    applied(&*store, cancelled(&row, at(1))).await;

    expected.sort_by_key(|(seconds, _)| *seconds);
    let expected: Vec<_> = expected.into_iter().flat_map(|(_, pulls)| pulls).collect();
    assert_eq!(store.pulls_of_user(&acme(), &user("user-1")).await.unwrap(), expected);
    assert_eq!(store.pulls_of_user(&beta(), &user("user-1")).await.unwrap().len(), 2);
    assert!(store.pulls_of_user(&acme(), &user("user-2")).await.unwrap().is_empty());
}

/// As many as one command may ask for: more values than one statement can bind.
pub async fn ten_thousand_pulls_of_one_purchase_are_stored(store: Stage) {
    let pending = pending(&*store, acme(), "r-1", at(0)).await;
    let items = (0..10_000).map(|n| Item { name: Some("x".repeat(100)), ..item(&format!("item-{n}")) }).collect();
    let change = drawn(&pending, items, 1);
    applied(&*store, change.clone()).await;
    assert!(store.pulls(pending.id).await.unwrap() == change.pulls, "10,000 pulls read back as they were drawn");
}
