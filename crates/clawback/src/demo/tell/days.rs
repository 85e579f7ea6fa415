//! What the demo says of its second act, a line for what happens at one time.

use std::{collections::BTreeSet, time::Duration};

use clawback_domain::{Money, sellback::State};

use crate::demo::{
    days::Elsewhere,
    events::{Asked, Sold, Warned},
    plant::{ASKS, SELLS},
    sums::{Sums, sum},
};

pub const OPENING: &str = "Now the stand-in's clock is moved by days, and everybody goes by it.";

/// `day 6 23:00`
fn day(at: Duration) -> String {
    let minutes = at.as_secs() / 60;
    format!("  day {} {:02}:{:02}", minutes / 1440, minutes / 60 % 24, minutes % 60)
}

pub fn inventories(at: Duration, items: usize, shutting: usize) -> String {
    format!("{}  every inventory was read: {items} items; the buyback windows of {shutting} will shut", day(at))
}

pub fn elsewhere(at: Duration, gone: &Elsewhere) -> String {
    format!("{}  {} of {} sells {} elsewhere, and tells nobody", day(at), gone.user, gone.partner, gone.name)
}

pub fn warnings(at: Duration, warnings: &[Warned]) -> String {
    let leads: BTreeSet<_> = warnings.iter().map(|warned| warned.lead.as_str()).collect();
    let lead = leads.into_iter().collect::<Vec<_>>().join(" or ");
    let items = warnings.iter().map(|warned| warned.items.len()).sum();
    format!("{}  {}, {lead} ahead, of {}", day(at), many(warnings.len(), "warning"), many(items, "item"))
}

/// What came of the sale that was asked for.
pub fn asked(at: Duration, asked: &Asked, state: Option<&State>) -> String {
    let Asked { user, name, least, .. } = asked;
    let became = match state {
        Some(State::Sold(sold)) => match sold.amount {
            Some(amount) => format!("it brings {amount} USD"),
            None => "it is sold".into(),
        },
        Some(State::Failed { failure, .. }) => failure.message.clone(),
        Some(State::Accepted { .. } | State::Selling(_) | State::Reconciling(_) | State::Review(_)) | None => {
            "it is not settled yet".into()
        }
    };
    format!("{}  {ASKS} hears it and has {name} sold back for {user}, for at least {least} USD: {became}", day(at))
}

/// `None` when nothing was.
pub fn sold(at: Duration, sold: &[Sold]) -> Option<String> {
    let sold: Vec<_> = sold.iter().filter(|sold| sold.automatically).collect();
    let amount = sum(sold.iter().filter_map(|sold| sold.amount));
    let what = many(sold.len(), "item");
    (!sold.is_empty()).then(|| format!("{}  what nobody at {SELLS} sold is sold by itself: {what}, for {amount} USD", day(at)))
}

/// `None` when none did.
pub fn closed(at: Duration, closed: usize) -> Option<String> {
    (closed > 0).then(|| format!("{}  {} shut unsold, and that is told, too", day(at), many(closed, "window")))
}

pub fn sums(sums: &Sums) -> String {
    let Sums { warned_items, warnings, late, by_hand, automatically, closed, .. } = sums;
    let usd = |amount: Money| format!("{amount} USD");
    let mut text = format!(
        "Within a week {warned_items} items were warned of by {warnings} warnings, {late} of them late. Sold back: {} by hand for \
         {},\n{} by themselves for {}; {closed} windows shut unsold.\n",
        by_hand.count,
        usd(by_hand.amount),
        automatically.count,
        usd(automatically.amount),
    );
    if let Some(gone) = &sums.elsewhere {
        let held = match sums.of_elsewhere {
            0 => "no warning held it".to_owned(),
            count => format!("{} held it all the same", many(count as usize, "warning")),
        };
        text.push_str(&format!("{} had sold {} elsewhere: {held}.\n", gone.user, gone.name));
    }
    text
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
