//! Flags and environment over the file: everything a process is told before it starts.

use std::{fmt, path::PathBuf};

use clawback_domain::PartnerId;
use url::Url;

use super::{
    clock::ClockSource,
    file::{ConfigError, Env, File, Needs, Partner},
    reader::Problem,
    secret::Secret,
};

/// Where the upstream is unless told otherwise.
pub const PRODUCTION_URL: &str = "https://api.phygitals.com";

/// The one partner there is without a configuration file.
const DEFAULT_PARTNER: &str = "default";

/// What every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Setup")]
pub struct SetupFlags {
    /// Configuration file [default: ./clawback.toml if it exists]
    #[arg(long, env = "CLAWBACK_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the embedded store lives [default: the platform's data directory]
    #[arg(long, env = "CLAWBACK_DATA_DIR", global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// RabbitMQ, amqp:// or amqps:// [default: the embedded broker]
    #[arg(long, env = "AMQP_URL", hide_env_values = true, global = true, value_name = "URL")]
    pub amqp_url: Option<String>,
    /// postgres:// or sqlite:// [default: a SQLite file in the data directory]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The upstream's base URL [default: production]
    #[arg(long, env = "PHYGITALS_URL", hide_env_values = true, global = true, value_name = "URL")]
    pub phygitals_url: Option<String>,
    /// system, or upstream: follow the clock of a sandbox on this machine, for tests [default: system]
    #[arg(long, env = "CLAWBACK_CLOCK", global = true, value_name = "CLOCK")]
    pub clock: Option<String>,
}

/// The URL of a server. It may carry a password, so it prints without one, and is read again when its file changes.
#[derive(Clone)]
pub struct ServerUrl {
    secret: Secret,
    schemes: &'static [&'static str],
}

impl ServerUrl {
    /// # Errors
    /// Not a URL, or not of one of `schemes`. The sentence does not repeat the text.
    pub fn new(secret: Secret, schemes: &'static [&'static str]) -> Result<Self, String> {
        check_server(&secret.expose(), schemes)?;
        Ok(Self { secret, schemes })
    }

    /// With its password. What it is handed to must not print it.
    pub fn expose(&self) -> String {
        self.secret.expose()
    }

    /// Reads the file again, and hands another URL to `take` before it becomes this one.
    ///
    /// # Errors
    /// A sentence without the URL: the file cannot be read, it has none, or `take` refuses it. The last one stays.
    pub fn refresh(&self, take: impl FnOnce(&str) -> Result<(), String>) -> Result<(), String> {
        let from = self.secret.source();
        let usable = |text: &str| {
            let taken = check_server(text, self.schemes).map_err(|why| format!("it {why}")).and_then(|()| take(text));
            taken.map_err(|why| format!("the URL from {from:?} is not used: {why}"))
        };
        if self.secret.refresh_if(usable)? {
            tracing::info!(?from, server = %self, "the server's URL was read again");
        }
        Ok(())
    }
}

fn check_server(text: &str, schemes: &[&str]) -> Result<(), String> {
    let kind = schemes.iter().map(|scheme| format!("{scheme}://…")).collect::<Vec<_>>().join(" or ");
    let url = Url::parse(text).map_err(|error| format!("must be {kind}: {error}"))?;
    match url.scheme() {
        scheme if schemes.contains(&scheme) => Ok(()),
        scheme if text.contains("://") => Err(format!("must be {kind}, not {scheme}://…")),
        // A password alone may have a colon, and then its beginning looks like a scheme.
        _ => Err(format!("must be {kind}")),
    }
}

/// Of a file's URL the text as it was given: parsing it would change a relative path.
fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "…".into() };
    if url.scheme() == "sqlite" {
        return text.into();
    }
    if url.password().is_some() && url.set_password(Some("…")).is_err() {
        return format!("{}://…", url.scheme());
    }
    // Parameters may hold a password as well.
    url.set_query(None);
    url.to_string().replace("%E2%80%A6", "…")
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.expose()))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a command was told.
#[derive(Debug, Clone)]
pub struct Setup {
    pub file: File,
    /// From the file, or the one of the environment.
    pub partners: Vec<Partner>,
    /// `None`: the embedded broker.
    pub amqp: Option<ServerUrl>,
    /// `None`: a SQLite file in the data directory.
    pub database: Option<ServerUrl>,
    pub upstream: String,
    pub clock: ClockSource,
    pub data_dir: PathBuf,
    /// Of the operators' HTTP door.
    pub ops_token: Option<Secret>,
}

impl Setup {
    /// # Errors
    /// Every problem of the file, or of the environment.
    pub fn load(flags: &SetupFlags, env: Env<'_>, needs: Needs) -> Result<Self, ConfigError> {
        let given = flags.config.clone().filter(|path| !path.as_os_str().is_empty());
        let path = given.or_else(|| Some(PathBuf::from("clawback.toml")).filter(|path| path.exists()));
        let file = File::load(path.as_deref(), env, needs)?;
        let mut reader = EnvReader { env, problems: Vec::new() };
        let upstream = flags.phygitals_url.clone().filter(|url| !url.is_empty()).unwrap_or_else(|| PRODUCTION_URL.into());
        reader.check("PHYGITALS_URL", check_upstream(&upstream));
        let clock = reader.check("CLAWBACK_CLOCK", ClockSource::read(flags.clock.as_deref(), &upstream));
        let setup = Self {
            partners: reader.partners(&file, needs),
            amqp: reader.server("AMQP_URL", flags.amqp_url.as_deref(), &["amqp", "amqps"]),
            database: reader.server("DATABASE_URL", flags.database_url.as_deref(), &["postgres", "postgresql", "sqlite"]),
            upstream,
            clock: clock.unwrap_or_default(),
            data_dir: flags.data_dir.clone().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| data_dir(env)),
            ops_token: reader.secret("CLAWBACK_OPS_TOKEN"),
            file,
        };
        reader.problems.extend(setup.misplaced_keys());
        if reader.problems.is_empty() { Ok(setup) } else { Err(ConfigError { file: None, problems: reader.problems }) }
    }

    /// Sandbox keys at the production URL, and the reverse. Called again whenever a key or the URL changes.
    pub fn misplaced_keys(&self) -> Vec<Problem> {
        let misplaced = |partner: &Partner| {
            let message = check_key(&partner.api_key.expose(), &self.upstream).err()?;
            Some(Problem { path: "PHYGITALS_URL".into(), message: format!("partner {} {message}", partner.id) })
        };
        self.partners.iter().filter_map(misplaced).collect()
    }

    pub fn partner(&self, id: &PartnerId) -> Option<&Partner> {
        self.partners.iter().find(|partner| partner.id == *id)
    }

    /// In production an item is one item; the sandbox, and whoever stands in for either, may hand one out several times.
    pub fn item_ids_repeat(&self) -> bool {
        self.upstream.trim_end_matches('/') != PRODUCTION_URL
    }

    /// Where the embedded store is.
    pub fn sqlite_file(&self) -> PathBuf {
        self.data_dir.join("clawback.sqlite")
    }
}

/// A `sandbox-` key with the production URL, or the reverse. Another host (a proxy, a stand-in) takes any key.
///
/// # Errors
/// A sentence without the key.
pub fn check_key(key: &str, upstream: &str) -> Result<(), String> {
    let Ok(url) = Url::parse(upstream) else { return Ok(()) };
    if url.host_str() != Some("api.phygitals.com") || key.is_empty() {
        return Ok(());
    }
    let sandbox_url = url.path().trim_end_matches('/') == "/_";
    match (key.starts_with("sandbox-"), sandbox_url) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err(format!("has a sandbox key, but {upstream} is production; the sandbox is {PRODUCTION_URL}/_")),
        (false, true) => Err(format!("has a production key, but {upstream} is the sandbox; sandbox keys begin with sandbox-")),
    }
}

fn check_upstream(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must be an http or https URL".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must be a base URL: no user name, no query, no fragment".into());
    }
    Ok(())
}

/// `CLAWBACK_TOKEN`, or the file that `CLAWBACK_TOKEN_FILE` names.
///
/// # Errors
/// An unreadable file, or both of them.
pub fn token_from_env(env: Env<'_>) -> Result<Option<Secret>, String> {
    let mut reader = EnvReader { env, problems: Vec::new() };
    let token = reader.secret("CLAWBACK_TOKEN");
    match reader.problems.pop() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(token),
    }
}

/// Reads variables and collects what is wrong with them.
struct EnvReader<'a> {
    env: Env<'a>,
    problems: Vec<Problem>,
}

impl EnvReader<'_> {
    fn check<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.problems.push(Problem { path: name.into(), message })).ok()
    }

    fn server(&mut self, name: &str, given: Option<&str>, schemes: &'static [&'static str]) -> Option<ServerUrl> {
        let secret = match given.filter(|text| !text.is_empty()) {
            Some(text) => Secret::from_env(name, text),
            None => Secret::from_file((self.env)(&format!("{name}_FILE"))?.into()),
        };
        let url = secret.and_then(|secret| ServerUrl::new(secret, schemes));
        self.check(name, url)
    }

    /// `NAME`, or the file that `NAME_FILE` names.
    fn secret(&mut self, name: &str) -> Option<Secret> {
        let by_file = format!("{name}_FILE");
        let secret = match ((self.env)(name), (self.env)(&by_file)) {
            (None, None) => return None,
            (Some(_), Some(_)) => Err(format!("give either it or {by_file}")),
            (Some(text), None) => Secret::from_env(name, &text),
            (None, Some(path)) => Secret::from_file(path.into()),
        };
        self.check(name, secret)
    }

    /// The file's partners; without any, the one of the environment.
    fn partners(&mut self, file: &File, needs: Needs) -> Vec<Partner> {
        if !file.partners.is_empty() {
            return file.partners.clone();
        }
        let api_key = if needs.api_keys { self.secret("PHYGITALS_API_KEY") } else { Some(Secret::unread()) };
        let token = if needs.tokens { self.secret("CLAWBACK_TOKEN") } else { None };
        let id = PartnerId::new(DEFAULT_PARTNER).expect("it is lower case and short");
        let partner = |api_key| Partner { id, api_key, token, settings: file.defaults.clone() };
        api_key.map(partner).into_iter().collect()
    }
}

/// The platform's data directory, ours within it.
fn data_dir(env: Env<'_>) -> PathBuf {
    let home = env("HOME").map(PathBuf::from);
    let base = if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library/Application Support"))
    } else if cfg!(windows) {
        env("APPDATA").map(PathBuf::from)
    } else {
        env("XDG_DATA_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".local/share")))
    };
    base.unwrap_or_else(|| PathBuf::from(".")).join("clawback")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_url_follows_its_file_and_neither_it_nor_a_refusal_shows_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        fs::write(&path, "amqp://acme:s3cret-1@broker/v\n").unwrap();
        let url = ServerUrl::new(Secret::from_file(path.clone()).unwrap(), &["amqp", "amqps"]).unwrap();
        let check = |text: &str, refused: Option<&str>, now: &str| {
            fs::write(&path, text).unwrap();
            let take = |text: &str| if text.contains("elsewhere") { Err("it is elsewhere".into()) } else { Ok(()) };
            let why = url.refresh(take).err();
            assert_eq!(why.is_some(), refused.is_some(), "{text}: {why:?}");
            let why = why.unwrap_or_default();
            assert!(why.contains(refused.unwrap_or_default()) && !why.contains("s3cret"), "{text}: {why}");
            assert_eq!(url.expose(), now, "{text}");
            assert!(!format!("{url} {url:?}").contains("s3cret"));
        };
        check("amqps://acme:s3cret-2@broker/v", None, "amqps://acme:s3cret-2@broker/v");
        check("s3cret-3", Some("must be amqp://… or amqps://…"), "amqps://acme:s3cret-2@broker/v");
        check("s3cret:4", Some("must be amqp://… or amqps://…"), "amqps://acme:s3cret-2@broker/v");
        check("http://acme:s3cret-5@broker/v", Some("not http://…"), "amqps://acme:s3cret-2@broker/v");
        check("amqp://acme:s3cret-6@elsewhere/v", Some("it is elsewhere"), "amqps://acme:s3cret-2@broker/v");
        check("", Some("is empty"), "amqps://acme:s3cret-2@broker/v");
        check("amqp://beta:s3cret-7@other/v", None, "amqp://beta:s3cret-7@other/v");
    }
}
