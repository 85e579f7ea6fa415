//! `clawback migrate [--check]`

use serde_json::json;

use crate::{
    config::Needs,
    context::{Context, Missing, open_store},
    failure::Failure,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  DATABASE_URL=postgres://… clawback migrate")]
pub struct MigrateFlags {
    /// Only say what is missing; exit 1 if anything is
    #[arg(long)]
    check: bool,
}

/// # Errors
/// The store; with `--check` anything that is missing.
pub async fn run(context: &Context, flags: MigrateFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let is_new = setup.database.is_none() && !setup.sqlite_file().exists();
    if flags.check && is_new {
        return Err(Failure::failed(format!("there is no store at {} yet", setup.sqlite_file().display())));
    }
    let missing = if flags.check { Missing::Refuse } else { Missing::Create };
    let store = open_store(&setup, missing).await?;
    let pending = store.pending_migrations().await?;
    if flags.check {
        store.close().await;
        context.out.result(&json!({ "pending": &pending }), || match pending.is_empty() {
            true => "the schema is up to date".into(),
            false => format!("missing: {}", pending.join(", ")),
        })?;
        return if pending.is_empty() {
            Ok(())
        } else {
            Err(Failure::failed("the schema is not up to date: run `clawback migrate`"))
        };
    }
    store.migrate().await?;
    store.close().await;
    context.out.result(&json!({ "applied": &pending }), || match pending.len() {
        0 => "the schema was up to date".into(),
        _ => format!("applied {}", pending.join(", ")),
    })
}
