//! What only the whole can tell of sellbacks: held against the upstream's own ledger, copy by copy.

use std::collections::BTreeMap;

use clawback_domain::{
    ItemId, OrderId,
    command::parse_sellback,
    reason::WaitCode,
    sellback::{Sellback, State},
};
use clawback_sandbox::ledger::{Ledger, LedgerSellback};

use clawback_store::memory::Snapshot;

use crate::{
    checks::Violation,
    rest::{Whole, panicked},
};

/// Of one item id: what the ledger says was sold, and what we say.
#[derive(Default)]
struct Sales<'a> {
    made: Vec<&'a LedgerSellback>,
    told: Vec<&'a Sellback>,
    /// Those that a person must decide.
    doubtful: usize,
}

pub fn sales(whole: &Whole<'_>) -> Vec<Violation> {
    let ledger = whole.world.engine().lock().ledger();
    let mut items = BTreeMap::<&str, Sales<'_>>::new();
    for sale in &ledger.sellbacks {
        items.entry(&sale.item_id).or_default().made.push(sale);
    }
    let mut violations = Vec::new();
    for row in whole.snapshot.sellbacks() {
        match &row.state {
            State::Sold(sold) => items.entry(sold.item_id.as_str()).or_default().told.push(row),
            State::Review(review) => {
                let item = review.sale.as_ref().map(|sale| &sale.item_id);
                items.entry(item.map_or("", ItemId::as_str)).or_default().doubtful += 1;
            }
            State::Failed { .. } => {}
            State::Accepted { .. } if waits_for_a_person(whole.snapshot, row) => {}
            State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) => {
                let (name, why) = (row.state.name(), row.state.waiting());
                violations.push(format!("nothing waits for ever: sellback {} is still {name}, {why:?}", row.id));
            }
        }
    }
    for id in &whole.seen.sellbacks {
        if !whole.snapshot.sellbacks().any(|row| row.id == *id) && !is_kept(whole, *id) {
            violations.push(format!("lose nothing: sellback {id} was published and has no row"));
        }
    }
    let all_known =
        |(item, sales): &(&&str, &Sales<'_>)| !sales.made.iter().any(|sale| is_beyond_evidence(whole, &ledger, item, sale));
    violations.extend(items.iter().filter(all_known).flat_map(|(item, sales)| of_item(item, sales)));
    violations.extend(pulls(whole));
    violations
}

/// Whether another sellback of the item is in review: it waits for that, and for its own time.
pub fn waits_for_a_person(snapshot: &Snapshot, row: &Sellback) -> bool {
    let busy = row.state.waiting().is_some_and(|waiting| waiting.code == WaitCode::ItemBusy);
    busy && snapshot
        .sellbacks()
        .any(|other| other.partner == row.partner && matches!(&other.state, State::Review(review) if review.sale.is_some()))
}

/// Whether a dead letter has its command.
fn is_kept(whole: &Whole<'_>, id: OrderId) -> bool {
    let commands = whole.snapshot.dead_letters.iter().filter(|letter| panicked(letter));
    commands
        .filter_map(|letter| {
            parse_sellback(None, &letter.body).ok().map(|command| OrderId::of(&letter.partner, &command.request_id))
        })
        .any(|kept| kept == id)
}

/// Whether some copy of the item was not written down when one was sold: the upstream sells the oldest, whosever it is, and it may leave unseen.
fn is_beyond_evidence(whole: &Whole<'_>, ledger: &Ledger, item: &str, sale: &LedgerSellback) -> bool {
    let before = ledger.purchases.iter().filter(|one| one.purchased_at <= sale.sold_at).flat_map(|one| &one.items);
    let sold_at = whole.world.by_our_clock(sale.sold_at);
    let known = whole.snapshot.pulls.iter().filter(|pull| pull.item.item_id.as_str() == item && pull.created_at <= sold_at);
    before.filter(|one| one.item_id == item).count() > known.count()
}

fn of_item(item: &str, sales: &Sales<'_>) -> Vec<Violation> {
    let Sales { made, told, doubtful } = sales;
    let mut violations = Vec::new();
    if told.len() > made.len() {
        let ids: Vec<_> = told.iter().map(|row| row.id).collect();
        violations.push(format!("every end is true: {item} was sold {} times, {ids:?} say they sold it", made.len()));
    }
    if made.len() > told.len() + doubtful {
        let told = told.len();
        violations.push(format!("never sell twice: {item} was sold {} times, for {told} that say so", made.len()));
    }
    let mut amounts: Vec<_> = made.iter().map(|sale| sale.amount).collect();
    for row in told {
        let Some(sold) = row.state.sold().filter(|sold| !sold.estimated) else { continue };
        match amounts.iter().position(|amount| sold.amount == Some(*amount)) {
            Some(place) => drop(amounts.swap_remove(place)),
            None => violations.push(format!("every end is true: {} says {:?}, the ledger does not", row.id, sold.amount)),
        }
    }
    violations
}

/// A pull is given away by one sellback, and one that says so.
fn pulls(whole: &Whole<'_>) -> Vec<Violation> {
    let sold_by = |row: &Sellback| row.state.sold().and_then(|sold| sold.pull);
    let mut violations = Vec::new();
    for pull in &whole.snapshot.pulls {
        let claim = |row: &&Sellback| {
            sold_by(row).is_some_and(|place| (place.purchase, place.position) == (pull.purchase, pull.position))
        };
        let claims: Vec<_> = whole.snapshot.sellbacks().filter(claim).map(|row| row.id).collect();
        let marked = pull.sale.map(|sale| sale.by);
        if claims.len() > 1 || claims.first().copied() != marked {
            violations.push(format!("never sell twice: pull {} is marked {marked:?}, sold by {claims:?}", pull.id));
        }
    }
    violations
}
