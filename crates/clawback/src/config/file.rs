//! `clawback.toml`: who the partners are and what holds for each.
//!
//! The whole file is read even when the first key is wrong, so that all problems are told at once. Paths of secrets are relative to
//! the file's folder. With neither file nor `[[partner]]` there is one partner, `default`, whose key comes from the environment.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clawback_domain::PartnerId;
use clawback_store::Retention;
use toml::Table;

use super::{
    expiry::read_packs,
    reader::{Entry, Problem, Reader, Shown, quoted, text},
    retention,
    secret::Secret,
    settings::Settings,
};

/// What the file says, with every default filled in.
#[derive(Debug, Clone)]
pub struct File {
    /// `None`: there is no file.
    pub path: Option<PathBuf>,
    /// How long a process may take to end after SIGTERM.
    pub drain: Duration,
    pub retention: Retention,
    /// What holds where no partner says otherwise.
    pub defaults: Settings,
    pub partners: Vec<Partner>,
    /// Every key with its value in effect, for `config print` and for telling what a reload changed.
    pub reference: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Partner {
    pub id: PartnerId,
    pub api_key: Secret,
    /// Bearer token of the HTTP API; without one this partner has no HTTP door.
    pub token: Option<Secret>,
    pub settings: Settings,
}

/// All that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: Option<PathBuf>,
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.file.as_ref().map_or_else(|| "the environment".into(), |file| file.display().to_string());
        for (index, problem) in self.problems.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{place}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads an environment variable; empty counts as not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Which secrets a command needs. What it does not need is not read: an operator's machine has no keys, the API's has none either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    pub api_keys: bool,
    pub tokens: bool,
}

impl Needs {
    pub const NOTHING: Self = Self { api_keys: false, tokens: false };
    pub const KEYS: Self = Self { api_keys: true, tokens: false };
    pub const TOKENS: Self = Self { api_keys: false, tokens: true };
    pub const EVERYTHING: Self = Self { api_keys: true, tokens: true };
}

impl File {
    /// # Errors
    /// Every problem found.
    pub fn load(path: Option<&Path>, env: Env<'_>, needs: Needs) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Self::parse("", None, env, needs) };
        let text = fs::read_to_string(path).map_err(|error| {
            let problems = vec![Problem { path: String::new(), message: format!("cannot be read: {error}") }];
            ConfigError { file: Some(path.into()), problems }
        })?;
        Self::parse(&text, Some(path), env, needs)
    }

    /// # Errors
    /// Every problem found.
    pub fn parse(text: &str, path: Option<&Path>, env: Env<'_>, needs: Needs) -> Result<Self, ConfigError> {
        let fail = |problems| ConfigError { file: path.map(Path::to_owned), problems };
        let root = text.parse::<Table>().map_err(|error| fail(vec![syntax(text, &error)]))?;
        let mut problems = Vec::new();
        let secrets = Secrets { base: path.and_then(Path::parent).unwrap_or(Path::new("")), env, needs };
        let mut file = read(&root, &secrets, &mut problems);
        file.path = path.map(Path::to_owned);
        check_distinct(&file.partners, &mut problems);
        if problems.is_empty() { Ok(file) } else { Err(fail(problems)) }
    }

    /// Every key's path and value in effect; secrets are not among them, their places are.
    pub fn flat(&self) -> BTreeMap<String, &Entry> {
        let mut flat = BTreeMap::new();
        flatten(&self.reference, "", &mut flat);
        flat
    }
}

/// The parser's message without the line it quotes: a secret may stand there by mistake.
fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Problem { path: format!("line {line}, column {column}"), message: format!("not TOML: {}", error.message()) }
}

const DRAIN: Duration = Duration::from_secs(45);

fn read(root: &Table, secrets: &Secrets<'_>, problems: &mut Vec<Problem>) -> File {
    let mut reader = Reader::new("", [(root, String::new())]);
    let drain = reader.duration(
        "drain",
        "how long a process may take to end after SIGTERM",
        DRAIN,
        Duration::from_secs(1)..=Duration::from_secs(3600),
    );
    let retention = retention::read(&mut reader);
    let empty = Table::new();
    let beneath = match root.get("defaults") {
        Some(toml::Value::Table(defaults)) => defaults,
        _ => &empty,
    };
    let defaults = reader.table("defaults", "every key of a partner may stand here", super::reader::When::Always, |reader| {
        for key in ["name", "pack"] {
            reader.refuse(key, "belongs under [[partner]]");
        }
        secrets.read(reader, "api_key", API_KEY, secrets.needs.api_keys);
        secrets.read(reader, "token", TOKEN, secrets.needs.tokens);
        Settings::read(reader, |reader, name, doc| secrets.read(reader, name, doc, secrets.needs.api_keys))
    });
    let partners =
        reader.tables("partner", "a tenant", &[(beneath, "defaults".into())], |reader| read_partner(reader, secrets));
    let reference = reader.finish(problems);
    // An unreadable `defaults` is a problem already; the built-in values stand in for it until all problems are told.
    let defaults = defaults.unwrap_or_else(|| Settings::read(&mut Reader::new("", []), |_, _, _| None));
    File { path: None, drain, retention, defaults, partners: partners.into_iter().flatten().collect(), reference }
}

const API_KEY: &str = "the key that addresses this partner's account upstream";
const TOKEN: &str = "bearer token of the HTTP API";

fn read_partner(reader: &mut Reader<'_>, secrets: &Secrets<'_>) -> Option<Partner> {
    let read = |value: &toml::Value| PartnerId::new(text(value)?).map_err(|error| error.to_string());
    let id = reader.optional("name", "part of queue names and routing keys", "\"acme\"", read, |id| quoted(id.as_str()));
    if id.is_none() {
        reader.problem("name", "a partner needs a readable `name`");
    }
    let api_key = secrets.read(reader, "api_key", API_KEY, secrets.needs.api_keys);
    if api_key.is_none() {
        reader.problem("api_key_file", "a partner needs a readable `api_key_file` or `api_key_env`");
    }
    let token = secrets.read(reader, "token", TOKEN, secrets.needs.tokens);
    let settings = Settings::read(reader, |reader, name, doc| secrets.read(reader, name, doc, secrets.needs.api_keys));
    let settings = settings.with_packs(read_packs(reader));
    Some(Partner { id: id?, api_key: api_key?, token, settings })
}

/// Reads secrets by `…_file` or `…_env`.
struct Secrets<'a> {
    base: &'a Path,
    env: Env<'a>,
    needs: Needs,
}

impl Secrets<'_> {
    fn read(&self, reader: &mut Reader<'_>, name: &str, doc: &'static str, needed: bool) -> Option<Secret> {
        let (by_file, by_env) = (format!("{name}_file"), format!("{name}_env"));
        reader.refuse(name, &format!("a secret does not stand in this file: use `{by_file}` or `{by_env}`"));
        let file = reader.optional(&by_file, doc, "\"secrets/…\"", text, |path| quoted(path));
        let env = reader.optional(&by_env, "the same from an environment variable", "\"…\"", text, |name| quoted(name));
        let (key, secret) = match (file, env) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                reader.problem(&by_env, format!("give either `{by_file}` or `{by_env}`"));
                return None;
            }
            (Some(_), None) | (None, Some(_)) if !needed => return Some(Secret::unread()),
            (Some(path), None) => (by_file, Secret::from_file(self.base.join(path))),
            (None, Some(name)) => (by_env, self.variable(&name)),
        };
        secret.map_err(|message| reader.problem(&key, message)).ok()
    }

    fn variable(&self, name: &str) -> Result<Secret, String> {
        let text = (self.env)(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
        Secret::from_env(name, &text)
    }
}

/// A key addresses one account and a token names one partner: neither may be shared.
fn check_distinct(partners: &[Partner], problems: &mut Vec<Problem>) {
    for (index, partner) in partners.iter().enumerate() {
        for earlier in &partners[..index] {
            let path = format!("partner {}", quoted(partner.id.as_str()));
            let other = &earlier.id;
            if partner.id == earlier.id {
                problems.push(Problem { path: path.clone(), message: "there are two partners of this name".into() });
            }
            if partner.api_key.is(&earlier.api_key.expose()) {
                let message = format!("has the same API key as partner {:?}; an account has one partner", other.as_str());
                problems.push(Problem { path: path.clone(), message });
            }
            if same_token(partner, earlier) {
                let message = format!("has the same token as partner {:?}; a token names one partner", other.as_str());
                problems.push(Problem { path, message });
            }
        }
    }
}

fn same_token(one: &Partner, other: &Partner) -> bool {
    matches!((&one.token, &other.token), (Some(one), Some(other)) if one.is(&other.expose()))
}

fn flatten<'e>(entries: &'e [Entry], path: &str, flat: &mut BTreeMap<String, &'e Entry>) {
    for entry in entries {
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        match &entry.shown {
            Shown::Value(_) | Shown::Unset(_) => drop(flat.insert(path, entry)),
            Shown::Table(entries) => flatten(entries, &path, flat),
            Shown::Tables(tables) => {
                for (index, entries) in tables.iter().enumerate() {
                    flatten(entries, &format!("{path}[{}]", name_of(entries).unwrap_or(index.to_string())), flat);
                }
            }
        }
    }
}

fn name_of(entries: &[Entry]) -> Option<String> {
    let named = entries.iter().find(|entry| matches!(entry.key.as_str(), "name" | "id"))?;
    match &named.shown {
        Shown::Value(name) => Some(name.clone()),
        Shown::Unset(_) | Shown::Table(_) | Shown::Tables(_) => None,
    }
}
