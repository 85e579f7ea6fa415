//! What a partner sets for one of its users, read as strictly as a command: a misspelt wish must not pass silently either.

use chrono_tz::Tz;
use schemars::JsonSchema;

use super::{Rejected, explain::Object, parse};
use crate::warning::{UserSettings, zone};

/// What is to be changed for a user. What is absent stays as it is, and so does what is `null`, save the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SettingsChange {
    /// Whether what the user holds may be sold automatically before its window shuts, where the partner's rules say so.
    pub auto_sell: Option<bool>,
    /// Whether the user is warned before a window shuts.
    pub warnings: Option<bool>,
    /// Where the user lives, an IANA time zone such as `Europe/Berlin`: quiet hours are in its time. `null`: in the partner's.
    #[schemars(with = "Option<String>")]
    pub zone: Option<Option<Tz>>,
}

const FIELDS: [&str; 3] = ["auto_sell", "warnings", "zone"];

impl SettingsChange {
    /// Reads the body of a request; `content_type` as for a command.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, Rejected> {
        let (text, at) = parse::text(content_type, body)?;
        let mut object = Object::open(text, at)?;
        object.refuse_others(&FIELDS, "of a user's settings");
        let (auto_sell, warnings) = (object.flag("auto_sell"), object.flag("warnings"));
        let cleared = object.is_null("zone").then_some(None);
        let named = object.text("zone", false, "\"Europe/Berlin\"", |text| zone(text).map_err(|error| error.to_string()));
        let problems = object.problems();
        if problems.is_empty() {
            Ok(Self { auto_sell, warnings, zone: named.map(Some).or(cleared) })
        } else {
            Err(Rejected { problems, request_id: None, user_id: None })
        }
    }

    pub fn apply(self, settings: UserSettings) -> UserSettings {
        UserSettings {
            warnings: self.warnings.unwrap_or(settings.warnings),
            auto_sell: self.auto_sell.unwrap_or(settings.auto_sell),
            zone: self.zone.unwrap_or(settings.zone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays_and_null_clears_the_zone() {
        let zone = Some(Tz::Europe__Berlin);
        let before = UserSettings { warnings: true, auto_sell: false, zone };
        for (body, expected) in [
            ("{}", before),
            (r#"{"warnings":false}"#, UserSettings { warnings: false, ..before }),
            (r#"{"auto_sell":true,"warnings":null}"#, UserSettings { auto_sell: true, ..before }),
            (r#"{"zone":null}"#, UserSettings { zone: None, ..before }),
            (r#" {"zone":"Asia/Kathmandu"} "#, UserSettings { zone: Some(Tz::Asia__Kathmandu), ..before }),
        ] {
            let change = SettingsChange::parse(Some("application/json"), body.as_bytes()).unwrap();
            assert_eq!(change.apply(before), expected, "{body}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let check = |body: &str, expected: &[(&str, &str, Option<&str>)]| {
            let problems = SettingsChange::parse(None, body.as_bytes()).unwrap_err().problems;
            let told: Vec<_> = problems
                .iter()
                .map(|problem| (problem.pointer.as_str(), problem.message.as_str(), problem.hint.as_deref()))
                .collect();
            assert_eq!(told, expected, "{body}");
        };
        check(
            r#"{"autosell":true,"warnings":"no","zone":"Berlin","auto_sell":1}"#,
            &[
                ("/autosell", "is not a field of a user's settings", Some("did you mean auto_sell?")),
                ("/auto_sell", "must be true or false, not a number", None),
                ("/warnings", "must be true or false, not a string", None),
                (
                    "/zone",
                    "must be an IANA time zone, not \"Berlin\"; did you mean Europe/Berlin?",
                    Some("for example \"Europe/Berlin\""),
                ),
            ],
        );
        check(r#"{"zone":null,"zone":"UTC"}"#, &[("/zone", "occurs more than once", None)]);
        check("[]", &[("", "must be an object, not an array", None)]);
        assert!(SettingsChange::parse(Some("text/plain"), b"{}").is_err());
        assert!(SettingsChange::parse(None, b"{\"zone\":\"\xff\"}").is_err());
    }
}
