//! `clawback warnings list`

use std::time::Duration;

use clap::Subcommand;
use clawback_domain::{PartnerId, UserId, clock::after, warning::RowState};
use clawback_store::{Warning, WarningFilter, WarningState};
use serde_json::{Value, json};

use crate::{
    config::{Needs, parse_duration},
    context::Context,
    failure::Failure,
    output,
};

#[derive(Debug, Subcommand)]
pub enum WarningsVerb {
    /// Warnings by the moment of their lead time, earliest first
    #[command(after_help = "Examples:\n  clawback warnings list --due-within 24h\n  clawback warnings list --user u-1 --json")]
    List(ListFlags),
}

#[derive(Debug, clap::Args)]
pub struct ListFlags {
    #[arg(long)]
    partner: Option<PartnerId>,
    #[arg(long)]
    user: Option<UserId>,
    /// planned, sent or skipped
    #[arg(long, value_parser = state)]
    state: Option<WarningState>,
    /// What is planned and comes due within this, or is overdue
    #[arg(long, value_parser = parse_duration, value_name = "SPAN", conflicts_with = "state")]
    due_within: Option<Duration>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

fn state(text: &str) -> Result<WarningState, String> {
    match text {
        "planned" => Ok(WarningState::Planned),
        "sent" => Ok(WarningState::Sent),
        "skipped" => Ok(WarningState::Skipped),
        _ => Err("must be one of planned, sent, skipped".into()),
    }
}

/// # Errors
/// The store.
pub async fn run(context: &Context, verb: WarningsVerb) -> Result<(), Failure> {
    match verb {
        WarningsVerb::List(flags) => list(context, flags).await,
    }
}

async fn list(context: &Context, flags: ListFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let until = match flags.due_within {
        Some(span) => Some(after(context.clock(&setup, &*store).await?.now(), span)),
        None => None,
    };
    let filter = WarningFilter {
        partner: flags.partner,
        user: flags.user,
        state: flags.state.or(until.and(Some(WarningState::Planned))),
        from: None,
        until,
        limit: flags.limit,
    };
    let warnings = store.warnings(filter).await?;
    store.close().await;
    let more = warnings.len() as u32 == flags.limit;
    let objects: Vec<_> = warnings.iter().map(object).collect();
    context.out.result(&json!({ "warnings": objects }), || text(&warnings, more))
}

fn object(warning: &Warning) -> Value {
    let Warning { partner, user, row, event, late, verified, updated_at } = warning;
    let (state, reason) = words(row.state);
    json!({
        "partner": partner,
        "user_id": user,
        "pull_id": row.pull,
        "lead": row.lead.to_string(),
        "moment": row.moment(),
        "expires_at": row.expiry,
        "state": state,
        "reason": reason,
        "event_id": event,
        "late": late,
        "verified": verified,
        "updated_at": updated_at,
    })
}

fn words(state: RowState) -> (&'static str, Option<&'static str>) {
    match state {
        RowState::Planned => ("planned", None),
        RowState::Sent => ("sent", None),
        RowState::Skipped(why) => ("skipped", Some(why.as_str())),
    }
}

fn text(warnings: &[Warning], more: bool) -> String {
    if warnings.is_empty() {
        return "no warning is like that".into();
    }
    let header = ["moment", "lead", "window shuts", "partner", "user", "state", "item"];
    let mut text = output::table(header, warnings.iter().map(row));
    if more {
        text.push_str("\nthere may be more: --limit");
    }
    text
}

fn row(warning: &Warning) -> [String; 7] {
    const SECONDS: &str = "%Y-%m-%d %H:%M:%S";
    let row = &warning.row;
    [
        row.moment().format(SECONDS).to_string(),
        row.lead.to_string(),
        row.expiry.format(SECONDS).to_string(),
        warning.partner.to_string(),
        warning.user.to_string(),
        said(warning),
        row.pull.to_string(),
    ]
}

fn said(warning: &Warning) -> String {
    let (state, reason) = words(warning.row.state);
    let late = (state == "sent" && warning.late).then_some("late");
    let unverified = (state == "sent" && !warning.verified).then_some("unverified");
    [Some(state), reason, late, unverified].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
