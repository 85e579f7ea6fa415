//! `clawback enqueue`: asks for purchases and sellbacks, one by flags or many from a file.
//!
//! With `AMQP_URL` commands are published like a partner's. Without, they are stored as accepted, where a running `up` finds them
//! within a second. Either way a command that is sent twice is one order, which is what makes a file resumable.

mod door;
mod expiring;
mod file;
mod lines;
mod members;
mod purchase;
mod resume;
mod sellback;

use clap::Subcommand;
use clawback_domain::{OrderId, PartnerId, pause::CommandKind};
use serde_json::{Map, Value, json};

use super::who::WhoFlags;
use crate::{accepting::Command, config::Needs, context::Context, failure::Failure, kind::id_field};
use door::{Door, Handed};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
#[command(
    after_help = "Examples:\n  clawback enqueue purchase --user u-1 --pack rookie\n  clawback enqueue sellback --user u-1 \
                        --expiring-within 24h\n  clawback enqueue --file commands.ndjson --rate 200"
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
    Purchase(purchase::PurchaseFlags),
    /// One item sold back, or all of a user's that are about to expire
    Sellback(sellback::SellbackFlags),
}

/// What every command may say.
#[derive(Debug, clap::Args)]
struct CommandFlags {
    /// Who asks [default: the only partner]
    #[arg(long)]
    partner: Option<PartnerId>,
    /// The idempotency key [default: a new one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// The end user
    #[arg(long, value_name = "ID")]
    user: String,
    /// Never call after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    /// A JSON object that every event of the command echoes
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Check it, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

impl CommandFlags {
    /// The command as a partner would have written it: the same reader checks it.
    fn command(&self, kind: CommandKind, fields: Map<String, Value>) -> Result<Command, Failure> {
        let new = || format!("cli-{}", uuid::Uuid::new_v4());
        self.command_named(kind, self.request_id.clone().unwrap_or_else(new), fields)
    }

    fn command_named(&self, kind: CommandKind, request: String, mut fields: Map<String, Value>) -> Result<Command, Failure> {
        fields.insert("request_id".into(), request.into());
        fields.insert("user_id".into(), self.user.as_str().into());
        if let Some(not_after) = &self.not_after {
            fields.insert("not_after".into(), not_after.as_str().into());
        }
        if let Some(metadata) = &self.metadata {
            let value: Value =
                serde_json::from_str(metadata).map_err(|error| Failure::usage(format!("--metadata is not JSON: {error}")))?;
            fields.insert("metadata".into(), value);
        }
        Command::parse(kind, None, Value::Object(fields).to_string().as_bytes()).map_err(Failure::usage)
    }
}

/// # Errors
/// A command that is not one, a conflict, RabbitMQ or the store.
pub async fn run(context: &Context, flags: EnqueueFlags) -> Result<(), Failure> {
    match flags.what {
        Some(What::Purchase(flags)) => purchase::run(context, flags).await,
        Some(What::Sellback(flags)) => sellback::run(context, flags).await,
        None => file::run(context, flags.file).await,
    }
}

async fn one(context: &Context, flags: CommandFlags, command: Command) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let partner = context.partner(&setup, flags.partner.as_ref())?;
    let (id, request) = (OrderId::of(&partner.id, command.request_id()), command.request_id().clone());
    let kind = command.kind();
    let mut object = json!({ id_field(kind): id, "request_id": request, "partner": partner.id });
    if flags.dry_run {
        object["dry_run"] = true.into();
        return context.out.result(&object, || format!("would enqueue {} {id}, request {request}", kind.as_str()));
    }
    let door = Door::open(context, &setup, partner, flags.who).await?;
    let handed = door.hand(command).await;
    door.close().await;
    let handed = handed?;
    object["result"] = handed.as_str().into();
    if handed == Handed::Conflict {
        return Err(Failure::failed(format!("request_id_conflict: {request} was used for another command, {id}")));
    }
    context.out.result(&object, || match handed {
        Handed::Published => format!("published request {request}; `clawback show {id}` tells how it goes"),
        Handed::Accepted => format!("accepted request {request}; `clawback show {id}` tells how it goes"),
        Handed::Repeat | Handed::Conflict => format!("request {request} was there already: {} {id}", kind.as_str()),
    })
}
