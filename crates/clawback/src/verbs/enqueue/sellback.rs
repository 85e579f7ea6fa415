//! `clawback enqueue sellback`

use std::time::Duration;

use clawback_domain::pause::CommandKind;
use serde_json::{Map, Value};

use super::{CommandFlags, expiring};
use crate::{config::parse_duration, context::Context, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  clawback enqueue sellback --user u-1 --item 7xKX --min-price 8.50\n  clawback enqueue sellback --user \
                  u-1 --expiring-within 24h --dry-run"
)]
pub struct SellbackFlags {
    #[command(flatten)]
    which: WhichFlags,
    /// Do not sell when the price just read is lower, in US dollars
    #[arg(long, value_name = "PRICE")]
    min_price: Option<String>,
    /// With --expiring-within: the request ids are PREFIX:PULL, so that running it again repeats them [default: expiring]
    #[arg(long)]
    prefix: Option<String>,
    /// With --expiring-within: instead of typing how many
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    command: CommandFlags,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichFlags {
    /// Any one of the user's items of this id
    #[arg(long, value_name = "ID")]
    item: Option<String>,
    /// The one that a purchase drew, where item ids repeat
    #[arg(long, value_name = "ID")]
    pull: Option<String>,
    /// All that the user holds and whose buyback window shuts within this span, a sellback each
    #[arg(long, value_name = "SPAN", value_parser = parse_duration, conflicts_with = "request_id")]
    expiring_within: Option<Duration>,
}

impl SellbackFlags {
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let given = [("item_id", &self.which.item), ("pull_id", &self.which.pull), ("min_price", &self.min_price)];
        for (name, value) in given {
            if let Some(value) = value {
                fields.insert(name.into(), value.as_str().into());
            }
        }
        fields
    }
}

pub async fn run(context: &Context, flags: SellbackFlags) -> Result<(), Failure> {
    if let Some(within) = flags.which.expiring_within {
        let fields = flags.fields();
        let wanted =
            expiring::Wanted { within, prefix: flags.prefix.unwrap_or_else(|| "expiring".into()), yes: flags.yes, fields };
        return expiring::run(context, wanted, flags.command).await;
    }
    if flags.prefix.is_some() || flags.yes {
        return Err(Failure::usage("--prefix and --yes go with --expiring-within alone"));
    }
    let command = flags.command.command(CommandKind::Sellback, flags.fields())?;
    super::one(context, flags.command, command).await
}
