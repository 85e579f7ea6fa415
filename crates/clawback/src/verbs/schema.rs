//! `clawback schema`: what partners may rely on, generated from the types that are read and written.

use clawback_domain::schema::{asyncapi, schemas};
use serde_json::{Value, json};

use crate::{config::nearest, context::Context, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  clawback schema > schemas.json\n  clawback schema asyncapi > asyncapi.json")]
pub struct SchemaFlags {
    /// One schema, for example clawback.command.purchase; or asyncapi
    name: Option<String>,
}

/// # Errors
/// A name that is none; stdout is closed.
pub fn run(context: &Context, flags: SchemaFlags) -> Result<(), Failure> {
    let wanted = match flags.name.as_deref() {
        None => json!({ "schemas": schemas(), "asyncapi": asyncapi() }),
        Some("asyncapi") => asyncapi(),
        Some(name) => one(name)?,
    };
    context.out.result(&wanted, || serde_json::to_string_pretty(&wanted).expect("it is JSON already"))
}

fn one(name: &str) -> Result<Value, Failure> {
    let mut all = schemas();
    all.remove(name).ok_or_else(|| {
        let hint = nearest(name, all.keys().map(String::as_str)).map(|known| format!("; did you mean {known}?"));
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        Failure::usage(format!(
            "there is no schema {name}{}\nthere is asyncapi, {}",
            hint.unwrap_or_default(),
            names.join(", ")
        ))
    })
}
