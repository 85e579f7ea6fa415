//! `clawback config check | print`

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::{
    config::{Needs, Setup, Shown, print},
    context::Context,
    failure::Failure,
};

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Reads everything, secrets too, and says all that is wrong
    #[command(after_help = "Example:\n  clawback config check --config clawback.toml")]
    Check,
    /// Every key with its meaning and its value in effect; secrets are never shown
    #[command(after_help = "Example:\n  clawback config print > clawback.toml")]
    Print,
}

/// # Errors
/// Every problem of the configuration.
pub fn run(context: &Context, verb: ConfigVerb) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Check => check(context),
        ConfigVerb::Print => {
            let setup = context.setup(Needs::NOTHING)?;
            context.out.result(&as_json(&setup), || as_text(&setup))
        }
    }
}

/// A configuration with problems is what was looked for: exit 1, not 2.
fn check(context: &Context) -> Result<(), Failure> {
    let setup = context.setup(Needs::EVERYTHING).map_err(|failure| Failure::Failed(failure.to_string()))?;
    let names: Vec<_> = setup.partners.iter().map(|partner| partner.id.as_str()).collect();
    let file = setup.file.path.as_ref().map(|path| path.display().to_string());
    context.out.result(&json!({ "ok": true, "file": &file, "partners": &names }), || {
        let place = file.clone().unwrap_or_else(|| "no file; the environment".into());
        let partners = if names.is_empty() { "no partner yet".to_owned() } else { format!("partners: {}", names.join(", ")) };
        format!("{place}: ok; {partners}")
    })
}

/// What the environment decides.
fn environment(setup: &Setup) -> [(&'static str, String); 7] {
    let data_dir = setup.data_dir.display().to_string();
    let sqlite = || format!("sqlite file {}", setup.sqlite_file().display());
    let path = |path: &std::path::PathBuf| path.display().to_string();
    [
        ("CLAWBACK_CONFIG", setup.file.path.as_ref().map_or_else(|| "none".into(), path)),
        ("CLAWBACK_DATA_DIR", data_dir),
        ("AMQP_URL", setup.amqp.as_ref().map_or_else(|| "the embedded broker".into(), ToString::to_string)),
        ("DATABASE_URL", setup.database.as_ref().map_or_else(sqlite, ToString::to_string)),
        ("PHYGITALS_URL", setup.upstream.clone()),
        ("CLAWBACK_CLOCK", setup.clock.to_string()),
        ("CLAWBACK_OPS_TOKEN", if setup.ops_token.is_some() { "set" } else { "not set" }.into()),
    ]
}

fn as_text(setup: &Setup) -> String {
    let mut text = String::from("# Every key of clawback.toml with its value in effect. From the environment:\n");
    for (name, value) in environment(setup) {
        text.push_str(&format!("#   {name:20} {value}\n"));
    }
    text.push('\n');
    text.push_str(&print(&setup.file.reference));
    text
}

fn as_json(setup: &Setup) -> Value {
    let mut values = Map::new();
    for (path, entry) in setup.file.flat() {
        let value = match &entry.shown {
            Shown::Value(value) => Value::from(value.as_str()),
            Shown::Unset(_) | Shown::Table(_) | Shown::Tables(_) => Value::Null,
        };
        values.insert(path, json!({ "value": value, "from": entry.origin, "meaning": entry.doc }));
    }
    let environment: Map<_, _> =
        environment(setup).into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    json!({ "environment": environment, "values": values })
}
