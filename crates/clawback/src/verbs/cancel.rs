//! `clawback cancel ID`

use clawback_domain::PartnerId;
use serde_json::json;

use super::{find, who::WhoFlags};
use crate::{
    cancelling::{self, Cancelled},
    clock::SystemClock,
    config::Needs,
    context::Context,
    failure::Failure,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback cancel order-17 --reason \"the customer changed their mind\"")]
pub struct CancelFlags {
    /// A purchase's id or request_id
    id: String,
    /// Whose request_id it is
    #[arg(long)]
    partner: Option<PartnerId>,
    #[command(flatten)]
    who: WhoFlags,
}

/// # Errors
/// No such purchase, or one that was called already.
pub async fn run(context: &Context, flags: CancelFlags) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = SystemClock::default();
    clock.measure(&*store).await?;
    let id = find::purchase(&*store, &flags.id, flags.partner.as_ref()).await?.id;
    let cancelled = cancelling::cancel(&*store, &clock, id, &flags.who.by(), flags.who.why()).await?;
    store.close().await;
    match cancelled {
        Cancelled::Done(purchase) => {
            let object = json!({ "purchase_id": purchase.id, "state": purchase.state.name() });
            context.out.result(&object, || format!("purchase {} is cancelled", purchase.id))
        }
        Cancelled::TooLate(purchase) => Err(Failure::failed(format!(
            "point_of_no_return: purchase {} is {} and goes on to its end",
            purchase.id,
            purchase.state.name()
        ))),
        Cancelled::Unknown => Err(Failure::failed(format!("there is no purchase {id}"))),
    }
}
