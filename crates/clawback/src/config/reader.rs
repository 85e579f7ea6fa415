//! Reads one table of the file, key by key, over the tables that lie beneath it.
//!
//! The code that reads a key is the only place that knows it: asking for it makes it known (so that the rest is unknown, and the
//! nearest known key can be named), gives its default, and writes its line of the annotated reference. All problems of a file are
//! collected; a person fixes them in one go.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive, time::Duration};

use toml::{Table, Value};

use super::duration;

/// Something wrong, and where it stands: `partner "acme".timeouts.init`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// One line, or one table, of the annotated reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub doc: &'static str,
    pub shown: Shown,
    /// Where the value stands in the file; `None`: it is built in.
    pub origin: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// As TOML.
    Value(String),
    /// Not set; how it might look.
    Unset(&'static str),
    Table(Vec<Entry>),
    /// An array of tables.
    Tables(Vec<Vec<Entry>>),
}

/// What becomes of a table that no layer mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// There whatever the file says; `false` is refused.
    Always,
    /// There unless the file says `false`.
    Unless,
    /// Only where the file has it. The text shows how it might look.
    Given(&'static str),
}

#[derive(Clone)]
struct Layer<'a> {
    table: &'a Table,
    path: String,
}

/// A table with the layers beneath it: the first that has a key decides it.
pub struct Reader<'a> {
    layers: Vec<Layer<'a>>,
    known: BTreeSet<String>,
    refused: BTreeSet<String>,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    /// Where a missing key is missed.
    path: String,
}

impl<'a> Reader<'a> {
    /// `layers`: each table with its path, the one that wins first.
    pub fn new(path: impl Into<String>, layers: impl IntoIterator<Item = (&'a Table, String)>) -> Self {
        let layers = layers.into_iter().map(|(table, path)| Layer { table, path }).collect();
        Self {
            layers,
            known: BTreeSet::new(),
            refused: BTreeSet::new(),
            entries: Vec::new(),
            problems: Vec::new(),
            path: path.into(),
        }
    }

    /// Reports what was not asked for. Returns the annotated reference of this table.
    pub fn finish(mut self, problems: &mut Vec<Problem>) -> Vec<Entry> {
        for layer in &self.layers {
            for key in layer.table.keys().filter(|key| !self.known.contains(*key) && !self.refused.contains(*key)) {
                self.problems.push(Problem { path: join(&layer.path, key), message: self.unknown(key) });
            }
        }
        for problem in self.problems {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        self.entries
    }

    fn unknown(&self, key: &str) -> String {
        match nearest(key, self.known.iter().map(String::as_str)) {
            Some(known) => format!("unknown key; did you mean `{known}`?"),
            None => format!("unknown key; known here: {}", self.known.iter().cloned().collect::<Vec<_>>().join(", ")),
        }
    }

    /// A problem of `key`, where it stands in the file.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        let path = self.find(key).map_or_else(|| join(&self.path, key), |(_, path)| path);
        self.problems.push(Problem { path, message: message.into() });
    }

    /// Declares a key that is not to be used here, and says why if it is.
    pub fn refuse(&mut self, key: &str, why: &str) {
        for layer in self.layers.iter().filter(|layer| layer.table.contains_key(key)) {
            self.problems.push(Problem { path: join(&layer.path, key), message: why.into() });
        }
        // Not `known`: it must not be offered to others as the nearest key.
        self.refused.insert(key.to_owned());
    }

    fn find(&self, key: &str) -> Option<(&'a Value, String)> {
        self.layers.iter().find_map(|layer| Some((layer.table.get(key)?, join(&layer.path, key))))
    }

    fn read<T>(&mut self, key: &str, read: impl FnOnce(&'a Value) -> Result<T, String>) -> Option<(T, String)> {
        self.known.insert(key.to_owned());
        let (value, path) = self.find(key)?;
        match read(value) {
            Ok(read) => Some((read, path)),
            Err(message) => {
                self.problems.push(Problem { path, message });
                None
            }
        }
    }

    /// A value with a default. `show` writes it as TOML.
    pub fn value<T>(
        &mut self,
        key: &str,
        doc: &'static str,
        default: T,
        read: impl FnOnce(&'a Value) -> Result<T, String>,
        show: impl FnOnce(&T) -> String,
    ) -> T {
        let (value, origin) = match self.read(key, read) {
            Some((value, path)) => (value, Some(path)),
            None => (default, None),
        };
        self.entries.push(Entry { key: key.into(), doc, shown: Shown::Value(show(&value)), origin });
        value
    }

    /// A value that may be missing; `example` shows how it might look.
    pub fn optional<T>(
        &mut self,
        key: &str,
        doc: &'static str,
        example: &'static str,
        read: impl FnOnce(&'a Value) -> Result<T, String>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let (value, origin) = self.read(key, read).unzip();
        let shown = value.as_ref().map_or(Shown::Unset(example), |value| Shown::Value(show(value)));
        self.entries.push(Entry { key: key.into(), doc, shown, origin });
        value
    }

    pub fn duration(&mut self, key: &str, doc: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let read = |value: &Value| as_duration(value).and_then(|span| within(span, &range, duration::show));
        self.value(key, doc, default, read, |span| quoted(&duration::show(*span)))
    }

    pub fn count(&mut self, key: &str, doc: &'static str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let read = |value: &Value| {
            let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
            let number = number.ok_or_else(|| format!("must be a whole number, not {}", shorten(value)))?;
            within(number, &range, |number| number.to_string())
        };
        self.value(key, doc, default, read, u32::to_string)
    }

    pub fn flag(&mut self, key: &str, doc: &'static str, default: bool) -> bool {
        let read = |value: &Value| value.as_bool().ok_or_else(|| format!("must be true or false, not {}", shorten(value)));
        self.value(key, doc, default, read, bool::to_string)
    }

    /// A table of its own. `None` when it is switched off, or not given where it must be.
    pub fn table<T>(&mut self, key: &str, doc: &'static str, when: When, read: impl FnOnce(&mut Reader<'a>) -> T) -> Option<T> {
        self.known.insert(key.to_owned());
        let (layers, off) = self.layers_of(key, when);
        let absent = layers.is_empty() && matches!(when, When::Given(_));
        if off.is_some() || absent {
            let shown = match when {
                When::Given(example) if off.is_none() => Shown::Unset(example),
                _ => Shown::Value("false".into()),
            };
            self.entries.push(Entry { key: key.into(), doc, shown, origin: off });
            return None;
        }
        let origin = layers.first().map(|layer| layer.path.clone());
        let mut reader = Reader::new(join(&self.path, key), layers.into_iter().map(|layer| (layer.table, layer.path)));
        let value = read(&mut reader);
        let entries = reader.finish(&mut self.problems);
        self.entries.push(Entry { key: key.into(), doc, shown: Shown::Table(entries), origin });
        Some(value)
    }

    /// The tables of `key`, down to the first `false`. The second value says where it was switched off altogether.
    fn layers_of(&mut self, key: &str, when: When) -> (Vec<Layer<'a>>, Option<String>) {
        let mut found = Vec::new();
        for layer in &self.layers {
            let path = join(&layer.path, key);
            match layer.table.get(key) {
                None => {}
                Some(Value::Table(table)) => found.push(Layer { table, path }),
                Some(Value::Boolean(false)) if when != When::Always => {
                    let off = found.is_empty().then_some(path);
                    return (found, off);
                }
                Some(other) => {
                    let wanted = if when == When::Always { "a table" } else { "a table, or false" };
                    self.problems.push(Problem { path, message: format!("must be {wanted}, not {}", shorten(other)) });
                }
            }
        }
        (found, None)
    }

    /// An array of tables, each over the tables `beneath`.
    pub fn tables<T>(
        &mut self,
        key: &str,
        doc: &'static str,
        beneath: &[(&'a Table, String)],
        mut read: impl FnMut(&mut Reader<'a>) -> T,
    ) -> Vec<T> {
        let list = self.read(key, |value| value.as_array().ok_or_else(|| format!("must be tables, not {}", shorten(value))));
        let (list, origin) = list.unzip();
        let (mut values, mut shown) = (Vec::new(), Vec::new());
        for (index, value) in list.into_iter().flatten().enumerate() {
            let path = label(&join(&self.path, key), index, value);
            let Some(table) = value.as_table() else {
                self.problems.push(Problem { path, message: format!("must be a table, not {}", shorten(value)) });
                continue;
            };
            let layers = std::iter::once((table, path.clone())).chain(beneath.iter().cloned());
            let mut reader = Reader::new(path, layers);
            values.push(read(&mut reader));
            shown.push(reader.finish(&mut self.problems));
        }
        self.entries.push(Entry { key: key.into(), doc, shown: Shown::Tables(shown), origin });
        values
    }
}

/// `partner "acme"` rather than `partner[3]`: a person looks for the name.
fn label(path: &str, index: usize, value: &Value) -> String {
    let name = value.get("name").or_else(|| value.get("id")).and_then(Value::as_str);
    name.map_or_else(|| format!("{path}[{index}]"), |name| format!("{path} {}", quoted(name)))
}

pub fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("must be a text, not {}", shorten(value)))
}

pub fn as_duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => duration::parse(text),
        other => Err(format!("must be a duration such as \"45m\", not {}", shorten(other))),
    }
}

pub fn as_durations(value: &Value) -> Result<Vec<Duration>, String> {
    let list = value.as_array().ok_or_else(|| format!("must be a list of durations, not {}", shorten(value)))?;
    list.iter().map(as_duration).collect()
}

/// A text as TOML: its strings escape as JSON's do.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The known word that `word` was probably meant to be.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

fn within<T: PartialOrd + Copy>(value: T, range: &RangeInclusive<T>, show: impl Fn(T) -> String) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("must be {} to {}, not {}", show(*range.start()), show(*range.end()), show(value)))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// Enough of a value to find it by, one line.
fn shorten(value: &Value) -> String {
    const MOST: usize = 40;
    match value {
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) if text.chars().count() > MOST => quoted(&text.chars().take(MOST).chain(['…']).collect::<String>()),
        other => other.to_string(),
    }
}
