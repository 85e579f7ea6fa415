//! The rules in words, and what they come to for one expiry: `clawback rules preview`.

use chrono_tz::Tz;

use super::{
    due::window,
    quiet::Quiet,
    row::{Row, RowState},
    rules::{Leads, UserSettings, WarningRules},
    sale::SaleRule,
    words,
};
use crate::{PackId, PullId, Time};

const UNWARNED: &str = "Users are not warned.";

/// What a partner's warnings are, a sentence a rule.
pub fn describe_warnings(rules: Option<&WarningRules>) -> Vec<String> {
    let Some(rules) = rules else { return vec![UNWARNED.into()] };
    let mut sentences =
        vec![format!("Users are warned {} before an item's buyback window shuts.", list(rules.default_leads()))];
    sentences.extend(rules.packs().map(|(pack, leads)| format!("For items of pack {pack} it is {} before.", list(leads))));
    sentences.push(match rules.digest() {
        digest if digest.is_zero() => "Each moment has a warning of its own.".into(),
        digest => format!("What is due within {} goes into one warning.", words::span(digest)),
    });
    sentences.push(rules.quiet().map_or_else(|| "There are no quiet hours.".into(), describe_quiet));
    sentences
}

fn list(leads: &Leads) -> String {
    let mut leads: Vec<String> = leads.iter().map(|lead| lead.to_string()).collect();
    match (leads.pop(), leads.as_slice()) {
        (Some(last), []) => last,
        (Some(last), others) => format!("{} and {last}", others.join(", ")),
        (None, _) => String::new(),
    }
}

fn describe_quiet(quiet: &Quiet) -> String {
    let [from, to] = [quiet.from(), quiet.to()].map(words::time_of_day);
    format!(
        "From {from} to {to} in the user's time zone ({} if none is set) warnings are held, unless the item expires before {to}.",
        quiet.zone()
    )
}

/// When a user would be warned of an item of `pack` that expires at `expiry`, a sentence a warning.
pub fn preview_warnings(rules: Option<&WarningRules>, settings: &UserSettings, pack: &PackId, expiry: Time) -> Vec<String> {
    let Some(rules) = rules else { return vec![UNWARNED.into()] };
    if !settings.warnings {
        return vec!["The user wants no warnings.".into()];
    }
    let pull = PullId(uuid::Uuid::nil());
    let rows = rules.leads(pack).iter().map(|lead| Row { pull, lead, expiry, state: RowState::Planned });
    rows.map(|row| preview(&row, rules, settings)).collect()
}

fn preview(row: &Row, rules: &WarningRules, settings: &UserSettings) -> String {
    let quiet = rules.quiet();
    let zone = quiet.map_or(settings.zone.unwrap_or(Tz::UTC), |quiet| quiet.zone_of(settings.zone));
    let (moment, due) = (row.moment(), window(row, rules, settings));
    let at = format!("{} before: {}", row.lead, words::moment(moment, zone));
    match quiet.and_then(|quiet| quiet.end(moment, settings.zone)) {
        None => format!("{at}."),
        Some(end) if due.due != moment => format!("{at}, in quiet hours: held until {}.", words::moment(end, zone)),
        Some(_) => format!("{at}, in quiet hours, but not held: the item expires before they end."),
    }
}

/// What is sold automatically, a sentence a rule.
pub fn describe_sale(rule: Option<&SaleRule>) -> Vec<String> {
    let Some(rule) = rule else { return vec!["Nothing is sold automatically.".into()] };
    let [at, stop] = [rule.at(), rule.stop_before()].map(words::span);
    let mut sentences = vec![format!("What is still held {at} before its window shuts is sold; from {stop} before, no more.")];
    sentences.extend(rule.min_price().map(|price| format!("It is sold for {price} {} or more.", price.currency().code())));
    sentences.extend(
        rule.min_share().map(|share| format!("It is sold for {} of its price at purchase or more.", words::share(share))),
    );
    if rule.min_price().is_none() && rule.min_share().is_none() {
        sentences.push("It is sold at any price.".into());
    }
    sentences.push("A user may opt out.".into());
    sentences
}

/// When an item that expires at `expiry` would be sold.
pub fn preview_sale(rule: Option<&SaleRule>, settings: &UserSettings, expiry: Time) -> String {
    let zone = settings.zone.unwrap_or(Tz::UTC);
    match rule {
        None => "It is not sold automatically.".into(),
        Some(_) if !settings.auto_sell => "It is not sold automatically: the user has opted out.".into(),
        Some(rule) => {
            let (from, until) = rule.span(expiry);
            format!("It is sold between {} and {}.", words::moment(from, zone), words::moment(until, zone))
        }
    }
}
