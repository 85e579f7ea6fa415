//! IANA time zones by their names.

use chrono_tz::{TZ_VARIANTS, Tz};

use super::rules::RuleError;

/// The zone of this name.
///
/// # Errors
/// An unknown name, with the known one that was probably meant.
pub fn zone(name: &str) -> Result<Tz, RuleError> {
    name.parse().map_err(|_| RuleError::UnknownZone { given: shown(name), nearest: nearest(name) })
}

/// No zone's name is longer; what is longer is cut before it is compared or shown.
const LONGEST: usize = 64;

fn shown(name: &str) -> String {
    name.chars().take(LONGEST).collect()
}

/// People leave out the continent (`Berlin`) or misspell (`europe/berln`); what resembles nothing gets some answer all the same.
fn nearest(name: &str) -> &'static str {
    let given = plain(&shown(name));
    let distance = |known: &str| {
        let city = known.rsplit('/').next().unwrap_or(known);
        let [whole, city] = [known, city].map(|known| strsim::damerau_levenshtein(&given, &plain(known)));
        whole.min(city)
    };
    let nearest = TZ_VARIANTS.iter().map(|zone| zone.name()).min_by_key(|known| (distance(known), *known));
    nearest.unwrap_or("UTC")
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-', ' '], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_names_the_nearest_known_one() {
        for (given, nearest) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("America/Sao Paulo", "America/Sao_Paulo"),
            ("Katmandu", "Asia/Katmandu"),
            ("utc", "Etc/UTC"),
        ] {
            let error = zone(given).unwrap_err();
            assert_eq!(error, RuleError::UnknownZone { given: given.into(), nearest }, "{given}");
        }
        let text = zone("Europe/Berln").unwrap_err().to_string();
        assert_eq!(text, "must be an IANA time zone, not \"Europe/Berln\"; did you mean Europe/Berlin?");
    }

    #[test]
    fn a_name_of_any_length_is_answered_shortly() {
        assert!(zone(&"x".repeat(100_000)).unwrap_err().to_string().len() < 200);
        assert!(zone("").is_err());
    }

    #[test]
    fn every_known_name_is_known() {
        for known in TZ_VARIANTS {
            assert_eq!(zone(known.name()), Ok(known));
        }
    }
}
