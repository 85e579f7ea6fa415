//! `clawback cancel ID`

use clawback_domain::PartnerId;
use serde_json::json;

use super::{find, who::WhoFlags};
use crate::{
    cancelling::{self, Cancelled},
    config::Needs,
    context::Context,
    failure::Failure,
    kind::{id_field, name},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback cancel order-17 --reason \"the customer changed their mind\"")]
pub struct CancelFlags {
    /// The id or request_id of a purchase or sellback
    id: String,
    /// Whose request_id it is
    #[arg(long)]
    partner: Option<PartnerId>,
    #[command(flatten)]
    who: WhoFlags,
}

/// # Errors
/// No such order, or one that was called already.
pub async fn run(context: &Context, flags: CancelFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = context.clock(&setup, &*store).await?;
    let id = find::order(&*store, &flags.id, flags.partner.as_ref()).await?.id();
    let cancelled = cancelling::cancel(&*store, &*clock, id, &flags.who.by(), flags.who.why()).await?;
    store.close().await;
    match cancelled {
        Cancelled::Done(order) => {
            let object = json!({ id_field(order.kind()): order.id(), "state": order.state() });
            context.out.result(&object, || format!("{} is cancelled", name(&order)))
        }
        Cancelled::TooLate(order) => {
            let state = order.state();
            Err(Failure::failed(format!("point_of_no_return: {} is {state} and goes on to its end", name(&order))))
        }
        Cancelled::Unknown => Err(Failure::failed(format!("there is no purchase or sellback {id}"))),
    }
}
