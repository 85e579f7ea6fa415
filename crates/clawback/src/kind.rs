//! How the two kinds of orders are called where people and machines read it.

use clawback_domain::{Money, order::AnyOrder, pause::CommandKind, resource::SellbackResource, sellback::Sellback};

/// `purchases`, as in paths and lists.
pub fn plural(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Purchase => "purchases",
        CommandKind::Sellback => "sellbacks",
    }
}

/// `purchase_id`, as in every object about one.
pub fn id_field(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Purchase => "purchase_id",
        CommandKind::Sellback => "sellback_id",
    }
}

/// `purchase 1f…`
pub fn name(order: &AnyOrder) -> String {
    format!("{} {}", order.kind().as_str(), order.id())
}

/// What is bought or sold: `2 × rookie`, `item 7xKX for 8.50 USD`. Texts are the partner's: print them with care.
pub fn what(order: &AnyOrder) -> String {
    match order {
        AnyOrder::Purchase(purchase) => format!("{} × {}", purchase.command.amount, purchase.command.pack_id),
        AnyOrder::Sellback(sellback) => item(sellback),
    }
}

/// `item 7xKX`, `pull 1f…` as long as its item is not known, and what it brought.
fn item(sellback: &Sellback) -> String {
    let SellbackResource { item_id, pull_id, amount, estimated, .. } = SellbackResource::of(sellback);
    let what = match (item_id, pull_id) {
        (Some(item), _) => format!("item {item}"),
        (None, Some(pull)) => format!("pull {pull}"),
        (None, None) => "an item".into(),
    };
    match amount {
        Some(amount) => format!("{what} for {}{}", if estimated { "about " } else { "" }, price(amount)),
        None => what,
    }
}

/// `8.50 USD`
pub fn price(amount: Money) -> String {
    format!("{amount} {}", amount.currency().code())
}
