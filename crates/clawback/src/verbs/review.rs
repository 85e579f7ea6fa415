//! `clawback review list | show | resolve`

mod resolve;

use std::sync::Arc;

use clap::Subcommand;
use clawback_domain::{Clock, PartnerId};
use clawback_store::Store;

use super::find;
use crate::{
    config::{Needs, Setup},
    context::Context,
    failure::Failure,
    output,
    reviewing::{self, Listed, ListedOrder, ListedReview, Shown},
    roles,
};

#[derive(Debug, Subcommand)]
pub enum ReviewVerb {
    /// What waits for a person, longest in doubt first
    #[command(after_help = "Example:\n  clawback review list --partner acme")]
    List {
        #[arg(long)]
        partner: Option<PartnerId>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// The doubt, the evidence, the timeline, and what can be done
    #[command(after_help = "Example:\n  clawback review show order-17")]
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Settles the doubt with a person's word
    Resolve(resolve::ResolveFlags),
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// The id or request_id of a purchase or sellback
    id: String,
    /// Whose request_id it is
    #[arg(long)]
    partner: Option<PartnerId>,
}

/// # Errors
/// No such order; one that is not in review; a word that does not fit it, or was not confirmed; the store.
pub async fn run(context: &Context, verb: ReviewVerb) -> Result<(), Failure> {
    match verb {
        ReviewVerb::List { partner, limit } => {
            let store = context.store(&context.setup(Needs::NOTHING)?).await?;
            let listed = reviewing::list(&*store, partner.as_ref(), limit).await?;
            store.close().await;
            context.out.result(&listed, || list(&listed))
        }
        ReviewVerb::Show { which } => {
            let Opened { setup, store, clock } = open(context).await?;
            let order = find::order(&*store, &which.id, which.partner.as_ref()).await?;
            let rules = roles::rules(&setup)(order.partner());
            let shown = Shown::read(&*store, order, &rules, clock.now()).await?;
            store.close().await;
            context.out.result(&shown.object(), || shown.text())
        }
        ReviewVerb::Resolve(flags) => resolve::run(context, flags).await,
    }
}

struct Opened {
    setup: Setup,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

async fn open(context: &Context) -> Result<Opened, Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    Ok(Opened { setup, store, clock })
}

fn list(listed: &Listed) -> String {
    if listed.reviews.is_empty() {
        return "nothing is in review".into();
    }
    let row = |review: &ListedReview| {
        [
            review.since.format("%Y-%m-%d %H:%M:%S").to_string(),
            review.partner.to_string(),
            review.user_id.to_string(),
            what(&review.what),
            review.code.to_string(),
            review.looks.to_string(),
            review.message.clone(),
            review.id().to_string(),
        ]
    };
    let header = ["since", "partner", "user", "what", "code", "looks", "message", "id"];
    let mut text = output::table(header, listed.reviews.iter().map(row));
    if listed.total > listed.reviews.len() {
        text.push_str(&format!("\n{} of {}; --limit shows more", listed.reviews.len(), listed.total));
    }
    text
}

fn what(order: &ListedOrder) -> String {
    match order {
        ListedOrder::Purchase { pack_id, amount, .. } => format!("{amount} × {pack_id}"),
        ListedOrder::Sellback { item_id: Some(item), .. } => format!("item {item}"),
        ListedOrder::Sellback { pull_id: Some(pull), .. } => format!("pull {pull}"),
        ListedOrder::Sellback { .. } => "an item".into(),
    }
}
