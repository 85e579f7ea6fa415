//! What happens before a buyback window shuts: warnings, and sales that nobody asked for.
//!
//! What a rule may be is the domain's to say; here its sentence gets the key that it is about.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::NaiveTime;
use chrono_tz::Tz;
use clawback_domain::{
    Money, PackId,
    warning::{Leads, Quiet, RuleError, SaleRule, WarningRules, time_of_day, zone},
};
use toml::Value;

use super::{
    duration,
    reader::{Reader, When, as_duration, as_durations, quoted, text},
    settings::LONG,
};

/// Reads `warnings`.
pub fn read_warnings(reader: &mut Reader<'_>) -> Option<WarningRules> {
    let leads = reader.value("leads", "how long before expiry", Leads::default(), leads, show_leads);
    let digest = reader.value(
        "digest",
        "what is due within this goes into one warning",
        WarningRules::default().digest(),
        as_duration,
        |span| quoted(&duration::show(*span)),
    );
    let quiet = reader.table(
        "quiet",
        "hours in which no warning goes out; the user's own time zone wins",
        When::Given(r#"{ from = "22:00", to = "08:00", zone = "Europe/Berlin" }"#),
        read_quiet,
    );
    WarningRules::new(leads, digest, quiet.flatten()).map_err(|error| reader.problem("digest", error.to_string())).ok()
}

fn leads(value: &Value) -> Result<Leads, String> {
    Leads::new(&as_durations(value)?).map_err(said)
}

fn show_leads(leads: &Leads) -> String {
    let leads: Vec<_> = leads.iter().map(|lead| quoted(&duration::show(lead.span()))).collect();
    format!("[{}]", leads.join(", "))
}

fn said(error: RuleError) -> String {
    error.to_string()
}

fn read_quiet(reader: &mut Reader<'_>) -> Option<Quiet> {
    let from = reader.value("from", "wall time", hour(22), wall_time, show_time);
    let to = reader.value("to", "wall time", hour(8), wall_time, show_time);
    let read = |value: &Value| zone(&text(value)?).map_err(said);
    let zone = reader.value("zone", "an IANA time zone, for users without one", Tz::UTC, read, |zone| quoted(zone.name()));
    let quiet = Quiet::new(from, to, zone);
    if quiet.is_none() {
        reader.problem("to", "must not be the same as `from`; `quiet = false` switches quiet hours off");
    }
    quiet
}

fn hour(hour: u32) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, 0, 0).expect("it is less than 24")
}

fn wall_time(value: &Value) -> Result<NaiveTime, String> {
    time_of_day(&text(value)?).map_err(said)
}

fn show_time(time: &NaiveTime) -> String {
    quoted(&time.format("%H:%M").to_string())
}

/// Reads `sell_before_expiry`.
pub fn read_sale(reader: &mut Reader<'_>) -> Option<SaleRule> {
    let at = reader.duration("at", "how long before expiry", 30 * MINUTE, LONG);
    let stop_before = reader.duration("stop_before", "no more tries from here on", 5 * MINUTE, LONG);
    let doc = "of the price at purchase";
    let share = reader.optional("min_share", doc, "\"0.9\"", |value| share(&text(value)?), |share| shown_share(*share));
    let price =
        reader.optional("min_price", "USD", "\"5.00\"", |value| money(&text(value)?), |price| quoted(&price.to_string()));
    let rule = SaleRule::new(at, stop_before, share, price);
    rule.map_err(|error| reader.problem(sale_key(&error), error.to_string())).ok()
}

const MINUTE: Duration = Duration::from_secs(60);

fn sale_key(error: &RuleError) -> &'static str {
    match error {
        RuleError::NotAShare => "min_share",
        RuleError::NegativePrice => "min_price",
        _ => "stop_before",
    }
}

fn money(text: &str) -> Result<Money, String> {
    Money::parse_usd(text).map_err(|error| format!("{error}: {text:?}"))
}

/// In millionths.
fn share(text: &str) -> Result<u32, String> {
    u32::try_from(money(text)?.millionths()).map_err(|_| RuleError::NotAShare.to_string())
}

fn shown_share(millionths: u32) -> String {
    quoted(&Money::usd(millionths.into()).to_string())
}

/// Reads every `[[partner.pack]]`: those that have lead times of their own.
pub fn read_packs(reader: &mut Reader<'_>) -> BTreeMap<PackId, Leads> {
    let (mut known, mut own) = (BTreeSet::new(), BTreeMap::new());
    reader.tables("pack", "a pack with lead times of its own", &[], |reader| {
        let read = |value: &Value| PackId::new(text(value)?).map_err(|error| error.to_string());
        let id = reader.optional("id", "the pack", "\"…\"", read, |id| quoted(id.as_str()));
        let leads = reader.optional("leads", "its own lead times", r#"["12h", "1h"]"#, leads, show_leads);
        let Some(id) = id else { return reader.problem("id", "a pack needs a readable `id`") };
        if !known.insert(id.clone()) {
            reader.problem("id", "there are two packs of this id");
        }
        own.extend(leads.map(|leads| (id, leads)));
    });
    own
}

#[cfg(test)]
mod tests {
    use clawback_domain::warning::{describe_sale, describe_warnings};

    use crate::config::{File, Needs};

    const ON: &str = "[defaults]\nwarnings = { leads = [\"6h\"], quiet = { zone = \"Europe/Berlin\" } }\n";

    /// What holds for the partner acme, in words.
    fn check(defaults: &str, partner: &str, expected: &[&str]) {
        let text = format!("{defaults}[[partner]]\nname = \"acme\"\napi_key_env = \"K\"\n{partner}");
        let file = File::parse(&text, None, &|_| None, Needs::NOTHING).unwrap();
        let settings = &file.partners[0].settings;
        let warnings = settings.warnings.as_ref().map(|rules| describe_warnings(Some(rules))).unwrap_or_default();
        let said: Vec<_> =
            warnings.into_iter().chain(settings.sale.as_ref().map(|rule| describe_sale(Some(rule))[0].clone())).collect();
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn a_partners_tables_lie_over_the_defaults_and_those_over_what_is_built_in() {
        let [built_in, six] =
            ["72h, 24h and 1h", "6h"].map(|leads| format!("Users are warned {leads} before an item's buyback window shuts."));
        let digest = "What is due within 15m goes into one warning.";
        let none = "There are no quiet hours.";
        let quiet = |to: &str, zone: &str| {
            format!(
                "From 22:00 to {to} in the user's time zone ({zone} if none is set) warnings are held, unless the item expires \
                 before {to}."
            )
        };
        let berlin = quiet("08:00", "Europe/Berlin");
        check("", "", &[&built_in, digest, none]);
        check("", "warnings = false", &[]);
        check(ON, "", &[&six, digest, &berlin]);
        check(ON, "warnings = { leads = [\"1h\", \"72h\", \"24h\"] }", &[&built_in, digest, &berlin]);
        check(ON, "warnings = { quiet = { to = \"07:30\" } }", &[&six, digest, &quiet("07:30", "Europe/Berlin")]);
        check(ON, "warnings = { quiet = false }", &[&six, digest, none]);
        check(ON, "warnings = false", &[]);
        check("[defaults]\nwarnings = false\n", "warnings = { digest = \"15m\" }", &[&built_in, digest, none]);
        check("[defaults]\nwarnings = false\n", "pack = [{ id = \"gold\", leads = [\"2h\"] }]", &[]);
        let gold = "For items of pack gold it is 12h and 2h before.";
        let packs = "pack = [{ id = \"gold\", leads = [\"2h\", \"12h\"] }, { id = \"tin\" }]";
        check(ON, packs, &[&six, gold, digest, &berlin]);
    }

    #[test]
    fn nothing_is_sold_unless_it_is_configured() {
        let sale = |at, stop| format!("What is still held {at} before its window shuts is sold; from {stop} before, no more.");
        let check =
            |defaults, partner: &str, expected: &[&str]| check(defaults, &format!("warnings = false\n{partner}"), expected);
        check("[defaults]\nsell_before_expiry = { at = \"1h\" }\n", "", &[&sale("1h", "5m")]);
        check("[defaults]\nsell_before_expiry = { at = \"1h\" }\n", "sell_before_expiry = false", &[]);
        check(
            "[defaults]\nsell_before_expiry = { at = \"1h\" }\n",
            "sell_before_expiry = { stop_before = \"10m\" }",
            &[&sale("1h", "10m")],
        );
        check("", "sell_before_expiry = {}", &[&sale("30m", "5m")]);
        check("", "", &[]);
    }
}
