//! SIGHUP: limits, warnings and automatic sales are taken over, everything else is refused with a sentence.

use std::collections::BTreeSet;

use crate::config::{Entry, File, Settings, Shown};

/// The keys that a running process takes over, wherever they stand: each alone, or with all that stands beneath it.
const RELOADABLE: &[&str] =
    &["concurrency", "poll_concurrency", "rate_per_second", "sell", "warnings", "sell_before_expiry", "pack"];

/// `current` with what a running process takes over from `read`.
pub fn taken(current: Settings, read: Settings) -> Settings {
    let Settings { concurrency, poll_concurrency, rate_per_second, sell, warnings, sale, .. } = read;
    Settings { concurrency, poll_concurrency, rate_per_second, sell, warnings, sale, ..current }
}

/// The keys that differ between two readings of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub taken: Vec<String>,
    /// These want a restart.
    pub refused: Vec<String>,
}

pub fn compare(before: &File, after: &File) -> Changes {
    let (old, new) = (before.flat(), after.flat());
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Changes::default();
    for path in paths {
        if shown(old.get(path).copied()) == shown(new.get(path).copied()) {
            continue;
        }
        let (partner, key) = of_partner(path);
        // A partner that came or went changes every one of its keys: none of them can be taken.
        let both = partner.is_none_or(|partner| {
            let name = format!("{partner}.name");
            old.contains_key(&name) && new.contains_key(&name)
        });
        let list = if both && is_reloadable(key) { &mut changes.taken } else { &mut changes.refused };
        list.push(path.clone());
    }
    changes
}

/// What a key shows. What is not set shows nothing: that is a change from what is.
fn shown(entry: Option<&Entry>) -> Option<&str> {
    match &entry?.shown {
        Shown::Value(value) => Some(value),
        Shown::Unset(_) | Shown::Table(_) | Shown::Tables(_) => None,
    }
}

/// `partner["acme"].sell.concurrency` is `sell.concurrency` of `partner["acme"]`; a partner's name has no bracket.
fn of_partner(path: &str) -> (Option<&str>, &str) {
    match path.find("].").filter(|_| path.starts_with("partner[")) {
        Some(end) => (Some(&path[..=end]), &path[end + 2..]),
        None => (None, path.strip_prefix("defaults.").unwrap_or(path)),
    }
}

fn is_reloadable(key: &str) -> bool {
    let beneath = |known: &&str| key.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    RELOADABLE.iter().any(beneath)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Needs;

    fn file(text: &str) -> File {
        File::parse(text, None, &|_| None, Needs::NOTHING).unwrap()
    }

    #[test]
    fn limits_warnings_and_sales_are_taken_and_the_rest_wants_a_restart() {
        let before = file("[[partner]]\nname = \"acme\"\napi_key_env = \"K\"\n");
        let check = |text: &str, taken: &[&str], refused: &[&str]| {
            let changes = compare(&before, &file(text));
            assert_eq!((changes.taken, changes.refused), (strings(taken), strings(refused)), "{text}");
        };
        check("[[partner]]\nname = \"acme\"\napi_key_env = \"K\"\n", &[], &[]);
        check(
            "drain = \"30s\"\n[[partner]]\nname = \"acme\"\napi_key_env = \"K\"\nconcurrency = 8\nwarnings.leads = [\"2h\"]\n",
            &["partner[\"acme\"].concurrency", "partner[\"acme\"].warnings.leads"],
            &["drain"],
        );
        let acme = "[[partner]]\nname = \"acme\"\napi_key_env = \"K\"\n";
        let quiet = ["from", "to", "zone"].map(|key| format!("partner[\"acme\"].warnings.quiet.{key}"));
        check(&format!("{acme}warnings.quiet = {{}}"), &quiet.each_ref().map(String::as_str), &[]);
        let off = ["", ".digest", ".leads"].map(|key| format!("partner[\"acme\"].warnings{key}"));
        check(&format!("{acme}warnings = false"), &off.each_ref().map(String::as_str), &[]);
        let sale = ["at", "stop_before"].map(|key| format!("partner[\"acme\"].sell_before_expiry.{key}"));
        check(&format!("{acme}sell_before_expiry = {{}}"), &sale.each_ref().map(String::as_str), &[]);
        let pack = ["id", "leads"].map(|key| format!("partner[\"acme\"].pack[\"].x\"].{key}"));
        let text = format!("{acme}[[partner.pack]]\nid = '].x'\nleads = ['2h']\n");
        check(&text, &pack.each_ref().map(String::as_str), &[]);
        let settings = taken(before.partners[0].settings.clone(), file(&text).partners[0].settings.clone());
        assert_eq!(settings, file(&text).partners[0].settings);
        check(
            "[[partner]]\nname = \"acme\"\napi_key_env = \"L\"\nclosed = true\n",
            &[],
            &["partner[\"acme\"].api_key_env", "partner[\"acme\"].closed"],
        );
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }
}
