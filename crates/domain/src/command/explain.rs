//! The slow reading of a message: every problem, where it is, and what was probably meant.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::{
    Metadata, Problem, PurchaseCommand, Rejected, SellbackCommand, Target,
    json::{Members, pointer, shown},
    metadata::Refused,
    rules::{self, FIELDS, SELLBACK_FIELDS},
};
use crate::reason::RejectionCode::{
    self, InvalidEncoding, InvalidField, InvalidJson, MissingField, TooLarge as ValueTooLarge, UnknownField,
};

/// Problems travel in a message header and an event: enough to mend a message in one round, and bounded.
const MOST_PROBLEMS: usize = 16;

/// The command in `text`, whose place in the message is `at`; or everything that is wrong with it.
pub(super) fn purchase(text: &str, at: &'static str) -> Result<PurchaseCommand, Rejected> {
    let mut object = Object::open(text, at)?;
    object.refuse_others(&FIELDS, "of this command");
    let request_id = object.text("request_id", true, "\"order-1001\"", rules::request_id);
    let user_id = object.text("user_id", true, "\"user-42\"", rules::user_id);
    let pack_id = object.text("pack_id", true, "\"pack-gold\"", rules::pack_id);
    let amount = object.take("amount", true, |object, value| object.amount(value));
    let not_after = object.text("not_after", false, "\"2030-01-31T12:00:00Z\"", rules::not_after);
    let metadata = object.take("metadata", false, |object, value| object.metadata(value));
    let problems = object.problems.list();
    match (&request_id, &user_id, pack_id, amount) {
        (Some(request_id), Some(user_id), Some(pack_id), Some(amount)) if problems.is_empty() => Ok(PurchaseCommand {
            request_id: request_id.clone(),
            user_id: user_id.clone(),
            pack_id,
            amount,
            not_after,
            metadata,
        }),
        _ => Err(Rejected { problems, request_id, user_id }),
    }
}

/// The sellback in `text`, whose place in the message is `at`; or everything that is wrong with it.
pub(super) fn sellback(text: &str, at: &'static str) -> Result<SellbackCommand, Rejected> {
    let mut object = Object::open(text, at)?;
    object.refuse_others(&SELLBACK_FIELDS, "of this command");
    let request_id = object.text("request_id", true, "\"sale-1001\"", rules::request_id);
    let user_id = object.text("user_id", true, "\"user-42\"", rules::user_id);
    let target = object.target();
    let min_price = object.text("min_price", false, "\"8.50\"", rules::min_price);
    let not_after = object.text("not_after", false, "\"2030-01-31T12:00:00Z\"", rules::not_after);
    let metadata = object.take("metadata", false, |object, value| object.metadata(value));
    let problems = object.problems.list();
    match (&request_id, &user_id, target) {
        (Some(request_id), Some(user_id), Some(target)) if problems.is_empty() => Ok(SellbackCommand {
            request_id: request_id.clone(),
            user_id: user_id.clone(),
            target,
            min_price,
            not_after,
            metadata,
        }),
        _ => Err(Rejected { problems, request_id, user_id }),
    }
}

/// The raw `data` of a CloudEvent in structured mode. Attributes that do not concern us are not read.
pub(super) fn data(text: &str) -> Result<&str, Rejected> {
    let mut event = Object::open(text, "")?;
    event.text("specversion", true, "\"1.0\"", |version| match version {
        "1.0" => Ok(()),
        _ => Err(format!("must be \"1.0\", not {:?}", shown(version))),
    });
    event.text("datacontenttype", false, "\"application/json\"", |kind| {
        match kind.split(';').next().map(|kind| kind.trim().to_ascii_lowercase()).as_deref() {
            Some("application/json") => Ok(()),
            _ => Err(format!("must be \"application/json\", not {:?}", shown(kind))),
        }
    });
    let data = event.take("data", true, |_, value| Some(value));
    match data {
        Some(data) if event.problems.is_empty() => Ok(data.get()),
        _ => Err(Rejected { problems: event.problems.list(), request_id: None, user_id: None }),
    }
}

/// An object of the message, and what was found wrong with it so far.
pub(super) struct Object<'a> {
    at: &'static str,
    members: Vec<(String, &'a RawValue)>,
    problems: Problems,
}

impl<'a> Object<'a> {
    pub(super) fn open(text: &'a str, at: &'static str) -> Result<Self, Rejected> {
        let raw: &RawValue = serde_json::from_str(text)
            .map_err(|error| Problem::new(InvalidJson, format!("the message is not JSON: {error}")).at(at))?;
        if !raw.get().starts_with('{') {
            return Err(Problem::new(InvalidField, format!("must be an object, not {}", shape(raw))).at(at).into());
        }
        let Members(members) = serde_json::from_str(raw.get())
            .map_err(|_| Problem::new(InvalidEncoding, "a field's name contains an unpaired surrogate").at(at))?;
        Ok(Self { at, members, problems: Problems::default() })
    }

    /// What `read` makes of the one value of `name`. `null` in an optional field is its absence.
    fn take<T>(&mut self, name: &str, required: bool, read: impl FnOnce(&mut Self, &'a RawValue) -> Option<T>) -> Option<T> {
        let mut values = self.members.iter().filter(|(member, _)| member == name).map(|(_, value)| *value);
        match (values.next(), values.next()) {
            (None, _) => {
                if required {
                    self.problem(name, MissingField, "is missing", None);
                }
                None
            }
            (Some(_), Some(_)) => {
                self.problem(name, InvalidField, "occurs more than once", None);
                None
            }
            (Some(value), None) if value.get() == "null" && !required => None,
            (Some(value), None) => read(self, value),
        }
    }

    pub(super) fn text<T>(
        &mut self,
        name: &str,
        required: bool,
        example: &str,
        rule: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.take(name, required, |object, value| {
            if !value.get().starts_with('"') {
                let message = format!("must be a string, not {}", shape(value));
                object.problem(name, InvalidField, message, Some(format!("for example {example}")));
                return None;
            }
            let Ok(text) = serde_json::from_str::<String>(value.get()) else {
                object.problem(name, InvalidEncoding, "contains an unpaired surrogate", None);
                return None;
            };
            let hint = Some(format!("for example {example}"));
            rule(&text).map_err(|broken| object.problem(name, InvalidField, broken, hint)).ok()
        })
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name, false, |object, value| match value.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                object.problem(name, InvalidField, format!("must be true or false, not {}", shape(value)), None);
                None
            }
        })
    }

    pub(super) fn is_null(&self, name: &str) -> bool {
        self.members.iter().any(|(member, value)| member == name && value.get() == "null")
    }

    /// What was found wrong.
    pub(super) fn problems(mut self) -> Vec<Problem> {
        self.problems.list()
    }

    /// `item_id` or `pull_id`, and not both.
    fn target(&mut self) -> Option<Target> {
        let pull_is_named = self.members.iter().any(|(member, value)| member == "pull_id" && value.get() != "null");
        let pull = self.text("pull_id", false, "the one that an event told", rules::pull_id).map(Target::Pull);
        let item = self.text("item_id", !pull_is_named, "\"7xKX\"", rules::item_id).map(Target::Item);
        if item.is_some() && pull_is_named {
            let hint = Some("pull_id alone: item ids repeat".into());
            self.problem("item_id", InvalidField, "must not stand beside pull_id", hint);
        }
        pull.or(item)
    }

    fn amount(&mut self, value: &RawValue) -> Option<u32> {
        let text = value.get();
        let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let message = if !is_number {
            format!("must be an integer, not {}", shape(value))
        } else if text.contains(['.', 'e', 'E']) {
            format!("must be written as an integer, without fraction or exponent, not {}", shown(text))
        } else {
            match text.parse().map(rules::amount) {
                Ok(Ok(amount)) => return Some(amount),
                Ok(Err(message)) => message,
                Err(_) => format!("must be 1–{}, not {}", rules::MOST_AMOUNT, shown(text)),
            }
        };
        let unquoted = text.trim_matches('"');
        let quoted = unquoted.len() < text.len() && unquoted.parse().is_ok_and(|amount| rules::amount(amount).is_ok());
        let hint = if quoted { format!("without quotes: {unquoted}") } else { "for example 1".to_owned() };
        self.problem("amount", InvalidField, message, Some(hint));
        None
    }

    fn metadata(&mut self, value: &RawValue) -> Option<Metadata> {
        match Metadata::read(value) {
            Ok(metadata) => return Some(metadata),
            Err(Refused::NotAnObject) => {
                let message = format!("must be an object, not {}", shape(value));
                self.problem("metadata", InvalidField, message, Some("for example {\"order\": 1001}".into()));
            }
            Err(refused @ Refused::TooLarge(_)) => self.problem("metadata", ValueTooLarge, refused.to_string(), None),
            Err(Refused::Faults(faults)) => {
                for fault in faults {
                    let problem = Problem::new(fault.what.code(), fault.what.message());
                    self.problems.push(problem.at(format!("{}/metadata{}", self.at, fault.pointer)));
                }
            }
        }
        None
    }

    /// Every member that is none of `known`, once each. `whose`: the fields are.
    pub(super) fn refuse_others(&mut self, known: &[&str], whose: &str) {
        let mut seen = HashSet::new();
        for (name, _) in &self.members {
            if known.contains(&name.as_str()) || !seen.insert(name) {
                continue;
            }
            // A message may hold thousands: the hint costs, and is wanted only for those that are told.
            self.problems.push_with(|| Problem {
                hint: nearest(name, known),
                ..Problem::new(UnknownField, format!("is not a field {whose}")).at(self.at.to_owned() + &pointer(&[name]))
            });
        }
    }

    fn problem(&mut self, name: &str, code: RejectionCode, message: impl Into<String>, hint: Option<String>) {
        let problem = Problem::new(code, message).at(format!("{}/{name}", self.at));
        self.problems.push(Problem { hint, ..problem });
    }
}

/// The first problems, and the number of the others.
#[derive(Default)]
struct Problems {
    first: Vec<Problem>,
    more: usize,
}

impl Problems {
    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn push(&mut self, problem: Problem) {
        self.push_with(|| problem);
    }

    fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.first.len() < MOST_PROBLEMS { self.first.push(problem()) } else { self.more += 1 }
    }

    fn list(&mut self) -> Vec<Problem> {
        let mut list = std::mem::take(&mut self.first);
        if self.more > 0 {
            list.push(Problem::new(InvalidField, format!("and {} more problems", self.more)));
        }
        list
    }
}

fn shape(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The known field that was probably meant.
fn nearest(name: &str, known: &[&str]) -> Option<String> {
    /// Longer names resemble none of ours, and comparing costs their length.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    let distance = |field: &str| strsim::damerau_levenshtein(&plain(name), &plain(field));
    let (field, distance) = known.iter().map(|field| (*field, distance(field))).min_by_key(|(_, distance)| *distance)?;
    (distance <= field.len() / 3).then(|| format!("did you mean {field}?"))
}
