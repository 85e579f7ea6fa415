//! SIGHUP: limits and lead times are taken over, everything else is refused with a sentence.

use std::collections::BTreeSet;

use crate::config::{Entry, File, Shown};

/// The keys that a running process takes over, wherever they stand.
const RELOADABLE: &[&str] = &[
    "concurrency",
    "poll_concurrency",
    "rate_per_second",
    "sell.concurrency",
    "sell.rate_per_second",
    "warnings.leads",
    "warnings.digest",
    "warnings.quiet",
    "warnings.quiet.from",
    "warnings.quiet.to",
    "warnings.quiet.zone",
    "leads",
];

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
        // A partner that came or went changes every one of its keys: none of them can be taken.
        let both = old.contains_key(path) == new.contains_key(path);
        let list = if both && is_reloadable(path) { &mut changes.taken } else { &mut changes.refused };
        list.push(path.clone());
    }
    changes
}

fn shown(entry: Option<&Entry>) -> Option<&str> {
    match &entry?.shown {
        Shown::Value(value) => Some(value),
        Shown::Unset(_) | Shown::Table(_) | Shown::Tables(_) => None,
    }
}

/// `partner["acme"].sell.concurrency` is `sell.concurrency` of a partner.
fn is_reloadable(path: &str) -> bool {
    let key = path.rsplit_once("].").map_or(path, |(_, key)| key);
    RELOADABLE.contains(&key.strip_prefix("defaults.").unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Needs;

    fn file(text: &str) -> File {
        File::parse(text, None, &|_| None, Needs::NOTHING).unwrap()
    }

    #[test]
    fn limits_are_taken_and_the_rest_wants_a_restart() {
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
