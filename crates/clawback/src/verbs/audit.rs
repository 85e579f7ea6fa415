//! `clawback audit`

use crate::{
    auditing::{self, Since},
    config::Needs,
    context::Context,
    failure::Failure,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  clawback audit\n  clawback audit --since 24h --json")]
pub struct AuditFlags {
    /// Only what was accepted since: so long ago (24h), or a time (2026-03-01T12:00:00Z)
    #[arg(long, value_name = "SPAN|TIME")]
    since: Option<Since>,
}

/// # Errors
/// The books do not agree; the store.
pub async fn run(context: &Context, flags: AuditFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    let report = auditing::audit(&*store, clock.now(), flags.since).await?;
    store.close().await;
    context.out.result(&report, || report.text())?;
    report.verdict().map_err(Failure::failed)
}
