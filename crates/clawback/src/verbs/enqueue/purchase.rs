//! `clawback enqueue purchase`

use clawback_domain::pause::CommandKind;
use serde_json::Map;

use super::CommandFlags;
use crate::{context::Context, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  clawback enqueue purchase --user u-1 --pack rookie --amount 2 --request-id order-17")]
pub struct PurchaseFlags {
    #[arg(long, value_name = "ID")]
    pack: String,
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    amount: i64,
    #[command(flatten)]
    command: CommandFlags,
}

pub async fn run(context: &Context, flags: PurchaseFlags) -> Result<(), Failure> {
    let fields =
        Map::from_iter([("pack_id".to_owned(), flags.pack.as_str().into()), ("amount".to_owned(), flags.amount.into())]);
    let command = flags.command.command(CommandKind::Purchase, fields)?;
    super::one(context, flags.command, command).await
}
