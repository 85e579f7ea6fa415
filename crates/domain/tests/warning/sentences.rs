//! The rules in words.

use std::time::Duration;

use chrono_tz::Tz;
use clawback_domain::{
    Money, PackId,
    warning::{
        Leads, Quiet, SaleRule, UserSettings, WarningRules, describe_sale, describe_warnings, preview_sale, preview_warnings,
    },
};

use super::leads;

fn gold() -> PackId {
    PackId::new("gold").unwrap()
}

fn night() -> WarningRules {
    let quiet = Quiet::parse("22:00", "08:00", "Europe/Berlin").unwrap();
    let rules = WarningRules::new(Leads::default(), Duration::from_secs(900), quiet).unwrap();
    rules.with_pack(gold(), leads(&[720, 60]))
}

#[test]
fn rules_read_as_sentences() {
    assert_eq!(
        describe_warnings(Some(&night())),
        [
            "Users are warned 72h, 24h and 1h before an item's buyback window shuts.",
            "For items of pack gold it is 12h and 1h before.",
            "What is due within 15m goes into one warning.",
            "From 22:00 to 08:00 in the user's time zone (Europe/Berlin if none is set) warnings are held, unless the item expires \
             before 08:00.",
        ]
    );
    let bare = WarningRules::new(leads(&[60]), Duration::ZERO, None).unwrap();
    assert_eq!(
        describe_warnings(Some(&bare)),
        [
            "Users are warned 1h before an item's buyback window shuts.",
            "Each moment has a warning of its own.",
            "There are no quiet hours.",
        ]
    );
    assert_eq!(describe_warnings(None), ["Users are not warned."]);
}

#[test]
fn a_preview_says_when_and_why_not_then() {
    let expiry = "2026-10-25T06:30:00Z".parse().unwrap();
    let preview = |rules: &WarningRules, settings: &UserSettings, expiry| {
        preview_warnings(Some(rules), settings, &PackId::new("tin").unwrap(), expiry)
    };
    let settings = UserSettings::default();
    assert_eq!(
        preview(&night(), &settings, expiry),
        [
            "72h before: Thu 2026-10-22 08:30:00 CEST.",
            "24h before: Sat 2026-10-24 08:30:00 CEST.",
            "1h before: Sun 2026-10-25 06:30:00 CET, in quiet hours, but not held: the item expires before they end.",
        ]
    );
    let later = "2026-10-25T07:30:00Z".parse().unwrap();
    let held = "1h before: Sun 2026-10-25 07:30:00 CET, in quiet hours: held until Sun 2026-10-25 08:00:00 CET.";
    assert_eq!(preview(&night(), &settings, later)[2], held);
    let nepal = UserSettings { zone: Some(Tz::Asia__Kathmandu), ..settings };
    assert_eq!(preview(&night(), &nepal, later)[2], "1h before: Sun 2026-10-25 12:15:00 +0545.");
    assert_eq!(preview(&WarningRules::default(), &settings, later)[2], "1h before: Sun 2026-10-25 06:30:00 UTC.");
    let none = UserSettings { warnings: false, ..settings };
    assert_eq!(preview(&night(), &none, later), ["The user wants no warnings."]);
    assert_eq!(preview_warnings(None, &settings, &gold(), later), ["Users are not warned."]);
}

#[test]
fn a_sale_reads_as_sentences() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let rule = SaleRule::new(minutes(30), minutes(5), Some(900_000), Some(Money::usd(5_000_000))).unwrap();
    assert_eq!(
        describe_sale(Some(&rule)),
        [
            "What is still held 30m before its window shuts is sold; from 5m before, no more.",
            "It is sold for 5.00 USD or more.",
            "It is sold for 90 % of its price at purchase or more.",
            "A user may opt out.",
        ]
    );
    let free = SaleRule::new(minutes(30), minutes(5), None, None).unwrap();
    assert_eq!(describe_sale(Some(&free))[1], "It is sold at any price.");
    assert_eq!(describe_sale(None), ["Nothing is sold automatically."]);
    let expiry = "2026-10-25T06:30:00Z".parse().unwrap();
    let settings = UserSettings::default();
    assert_eq!(
        preview_sale(Some(&rule), &settings, expiry),
        "It is sold between Sun 2026-10-25 06:00:00 UTC and Sun 2026-10-25 06:25:00 UTC."
    );
    let out = UserSettings { auto_sell: false, ..settings };
    assert_eq!(preview_sale(Some(&rule), &out, expiry), "It is not sold automatically: the user has opted out.");
    assert_eq!(preview_sale(None, &settings, expiry), "It is not sold automatically.");
}
