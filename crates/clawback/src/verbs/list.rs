//! `clawback list purchases | sellbacks | items`

use std::time::Duration;

use chrono::TimeDelta;
use clap::Subcommand;
use clawback_domain::{
    PartnerId, Time, UserId,
    order::{AnyOrder, StateName},
    pause::CommandKind,
    resource::AnyResource,
};
use clawback_store::Filter;
use serde_json::{Value, json};

use super::list_items::{self, ItemsFlags};
use crate::{
    config::{Needs, parse_duration},
    context::Context,
    failure::Failure,
    http::cursor,
    kind::{plural, what},
    output,
};

#[derive(Debug, Subcommand)]
pub enum List {
    /// Purchases, newest first
    #[command(after_help = "Example:\n  clawback list purchases --state review --older-than 1h")]
    Purchases(ListFlags),
    /// Sellbacks, newest first
    #[command(after_help = "Example:\n  clawback list sellbacks --user u-1 --state sold")]
    Sellbacks(ListFlags),
    /// What a user drew and how it stands, oldest first
    #[command(after_help = "Example:\n  clawback list items --user u-1 --state held")]
    Items(ItemsFlags),
}

#[derive(Debug, clap::Args)]
pub struct ListFlags {
    #[arg(long)]
    partner: Option<PartnerId>,
    #[arg(long, value_parser = state)]
    state: Option<StateName>,
    #[arg(long)]
    user: Option<UserId>,
    /// Only what was accepted longer ago than this
    #[arg(long, value_parser = parse_duration, value_name = "SPAN")]
    older_than: Option<Duration>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// The `next` of the page before
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

fn state(text: &str) -> Result<StateName, String> {
    let names = || StateName::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    StateName::parse(text).ok_or_else(|| format!("must be one of {}", names()))
}

/// # Errors
/// A cursor that is none of ours; the store.
pub async fn run(context: &Context, list: List) -> Result<(), Failure> {
    match list {
        List::Purchases(flags) => orders(context, CommandKind::Purchase, flags).await,
        List::Sellbacks(flags) => orders(context, CommandKind::Sellback, flags).await,
        List::Items(flags) => list_items::run(context, flags).await,
    }
}

async fn orders(context: &Context, kind: CommandKind, flags: ListFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let created_before = match flags.older_than {
        Some(span) => Some(before(context.clock(&setup, &*store).await?.now(), span)),
        None => None,
    };
    let read = |text: &String| cursor::read(text).ok_or_else(|| Failure::usage("--after takes the `next` of a page before"));
    let filter = Filter {
        kind: Some(kind),
        partner: flags.partner,
        state: flags.state,
        user: flags.user,
        request: None,
        created_before,
        after: flags.after.as_ref().map(read).transpose()?,
        oldest_first: false,
        limit: flags.limit,
    };
    let orders = store.orders(filter).await?;
    store.close().await;
    let next = orders.last().filter(|_| orders.len() as u32 == flags.limit).map(cursor::behind);
    let objects: Vec<_> = orders.iter().map(object).collect();
    context.out.result(&json!({ plural(kind): objects, "next": &next }), || text(kind, &orders, next.as_deref()))
}

/// Longer ago than anything is, nothing was accepted.
fn before(now: Time, span: Duration) -> Time {
    TimeDelta::from_std(span)
        .ok()
        .and_then(|span| now.checked_sub_signed(span))
        .map_or(Time::UNIX_EPOCH, |at| at.max(Time::UNIX_EPOCH))
}

/// Without its items: `show` has them.
fn object(order: &AnyOrder) -> Value {
    let mut object = serde_json::to_value(AnyResource::of(order, &[])).expect("a resource has string keys");
    if let Some(fields) = object.as_object_mut() {
        fields.remove("items");
        fields.insert("partner".into(), order.partner().as_str().into());
    }
    object
}

fn text(kind: CommandKind, orders: &[AnyOrder], next: Option<&str>) -> String {
    if orders.is_empty() {
        return format!("no {} is like that", kind.as_str());
    }
    let row = |order: &AnyOrder| {
        [
            order.created_at().format("%Y-%m-%d %H:%M:%S").to_string(),
            order.partner().to_string(),
            order.request_id().to_string(),
            what(order),
            order.state().to_string(),
            order.id().to_string(),
        ]
    };
    let mut text = output::table(["accepted", "partner", "request", "what", "state", "id"], orders.iter().map(row));
    if let Some(next) = next {
        text.push_str(&format!("\nmore with --after {next}"));
    }
    text
}
