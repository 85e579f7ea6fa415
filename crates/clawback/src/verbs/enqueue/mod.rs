//! `clawback enqueue`: asks for purchases, one by flags or many from a file.
//!
//! With `AMQP_URL` commands are published like a partner's. Without, they are stored as accepted, where a running `up` finds them
//! within a second. Either way a command that is sent twice is one purchase, which is what makes a file resumable.

mod door;
mod file;
mod resume;

use clap::Subcommand;
use clawback_domain::{PartnerId, PurchaseId, command::parse_purchase};
use serde_json::{Map, Value, json};

use super::who::WhoFlags;
use crate::{config::Needs, context::Context, failure::Failure};
use door::{Door, Handed};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
#[command(
    after_help = "Examples:\n  clawback enqueue purchase --user u-1 --pack rookie\n  clawback enqueue --file commands.ndjson --rate 200"
)]
pub struct EnqueueFlags {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    file: file::FileFlags,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One purchase
    #[command(after_help = "Example:\n  clawback enqueue purchase --user u-1 --pack rookie --amount 2 --request-id order-17")]
    Purchase(PurchaseFlags),
}

#[derive(Debug, clap::Args)]
struct PurchaseFlags {
    /// Who asks [default: the only partner]
    #[arg(long)]
    partner: Option<PartnerId>,
    /// The idempotency key [default: a new one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// The end user
    #[arg(long, value_name = "ID")]
    user: String,
    #[arg(long, value_name = "ID")]
    pack: String,
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    amount: i64,
    /// Never buy after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    /// A JSON object that every event of the purchase echoes
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Check it, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

impl PurchaseFlags {
    /// The command as a partner would have written it: the same reader checks it.
    fn message(&self) -> Result<String, Failure> {
        let mut fields = Map::new();
        let request_id = self.request_id.clone().unwrap_or_else(|| format!("cli-{}", uuid::Uuid::new_v4()));
        fields.insert("request_id".into(), request_id.into());
        fields.insert("user_id".into(), self.user.as_str().into());
        fields.insert("pack_id".into(), self.pack.as_str().into());
        fields.insert("amount".into(), self.amount.into());
        if let Some(not_after) = &self.not_after {
            fields.insert("not_after".into(), not_after.as_str().into());
        }
        if let Some(metadata) = &self.metadata {
            let value: Value =
                serde_json::from_str(metadata).map_err(|error| Failure::usage(format!("--metadata is not JSON: {error}")))?;
            fields.insert("metadata".into(), value);
        }
        Ok(Value::Object(fields).to_string())
    }
}

/// # Errors
/// A command that is not one, a conflict, RabbitMQ or the store.
pub async fn run(context: &Context, flags: EnqueueFlags) -> Result<(), Failure> {
    match flags.what {
        Some(What::Purchase(flags)) => purchase(context, flags).await,
        None => file::run(context, flags.file).await,
    }
}

async fn purchase(context: &Context, flags: PurchaseFlags) -> Result<(), Failure> {
    let command = parse_purchase(None, flags.message()?.as_bytes()).map_err(Failure::usage)?;
    let setup = context.setup(Needs::NOTHING)?;
    let partner = context.partner(&setup, flags.partner.as_ref())?;
    let (id, request) = (PurchaseId::of(&partner.id, &command.request_id), command.request_id.clone());
    let mut object = json!({ "purchase_id": id, "request_id": request, "partner": partner.id });
    if flags.dry_run {
        object["dry_run"] = true.into();
        return context.out.result(&object, || format!("would enqueue purchase {id}, request {request}"));
    }
    let door = Door::open(context, &setup, partner, flags.who).await?;
    let handed = door.hand(command).await;
    door.close().await;
    let handed = handed?;
    object["result"] = handed.as_str().into();
    if handed == Handed::Conflict {
        return Err(Failure::failed(format!("request_id_conflict: {request} was used for another command, purchase {id}")));
    }
    context.out.result(&object, || match handed {
        Handed::Published => format!("published request {request}; `clawback show {id}` tells how it goes"),
        Handed::Accepted => format!("accepted request {request}; `clawback show {id}` tells how it goes"),
        Handed::Repeat | Handed::Conflict => format!("request {request} was there already: purchase {id}"),
    })
}
