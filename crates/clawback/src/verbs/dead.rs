//! `clawback dead list | show | redrive | discard`

use std::sync::Arc;

use clap::Subcommand;
use clawback_broker::{Broker, Message, Properties, Routing, topology};
use clawback_domain::{Clock, DeadLetterId, PartnerId, pause::CommandKind};
use clawback_store::{DeadLetter, DeadLetterState, Store};
use serde_json::{Value, json};

use super::who::WhoFlags;
use crate::{
    accepting::{self, Accepted, Command},
    config::{Needs, Setup},
    context::{Context, open_amqp},
    failure::Failure,
    kind, output,
};

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Newest first
    #[command(after_help = "Example:\n  clawback dead list --partner acme")]
    List {
        #[arg(long)]
        partner: Option<PartnerId>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// The message as it came, and what is wrong with it
    #[command(after_help = "Example:\n  clawback dead show 5c1…")]
    Show { id: DeadLetterId },
    /// Sends the message again, as it came
    #[command(after_help = "Example:\n  clawback dead redrive 5c1… --reason \"the partner was closed by mistake\"")]
    Redrive(SettleFlags),
    /// Gives the message up; it stays on record
    #[command(after_help = "Example:\n  clawback dead discard --all --partner acme --reason \"test traffic\" --dry-run")]
    Discard(SettleFlags),
}

#[derive(Debug, clap::Args)]
pub struct SettleFlags {
    #[arg(required_unless_present = "all")]
    ids: Vec<DeadLetterId>,
    /// All that are kept, of one partner with --partner
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[arg(long, requires = "all")]
    partner: Option<PartnerId>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

/// # Errors
/// The store or RabbitMQ; a dead letter that is not there, or not kept any more.
pub async fn run(context: &Context, dead: Dead) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    match dead {
        Dead::List { partner, limit } => {
            let letters = store.dead_letters(partner.as_ref(), limit).await?;
            let objects: Vec<_> = letters.iter().map(object).collect();
            context.out.result(&json!({ "dead_letters": objects }), || list(&letters))?;
        }
        Dead::Show { id } => {
            let letter = store.dead_letter(id).await?.ok_or_else(|| unknown(id))?;
            context.out.result(&with_body(&letter), || text(&letter))?;
        }
        Dead::Redrive(flags) => {
            let broker = match &setup.amqp {
                Some(url) if !flags.dry_run => Some(open_amqp(url).await?),
                _ => None,
            };
            let redriven = settle(context, &setup, &store, flags, DeadLetterState::Redriven, broker.as_ref()).await;
            if let Some(broker) = broker {
                broker.close(std::time::Duration::from_secs(5)).await;
            }
            redriven?;
        }
        Dead::Discard(flags) => settle(context, &setup, &store, flags, DeadLetterState::Discarded, None).await?,
    }
    store.close().await;
    Ok(())
}

/// At once, so that one run touches what a person can oversee; run again for more.
const BATCH: u32 = 1000;

async fn settle(
    context: &Context,
    setup: &Setup,
    store: &Arc<dyn Store>,
    flags: SettleFlags,
    state: DeadLetterState,
    broker: Option<&Arc<dyn Broker>>,
) -> Result<(), Failure> {
    let letters = wanted(&**store, &flags).await?;
    if flags.dry_run {
        let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
        return context.out.result(&json!({ "would_settle": ids }), || list(&letters));
    }
    let clock = context.clock(setup, &**store).await?;
    let by = match flags.who.why() {
        "" => flags.who.by(),
        why => format!("{}: {why}", flags.who.by()),
    };
    let (mut settled, mut failed) = (Vec::new(), Vec::new());
    for letter in letters {
        let id = letter.id;
        match settle_one(&**store, &*clock, letter, state, broker, &by).await {
            Ok(()) => settled.push(id),
            Err(why) => failed.push(format!("{id}: {why}")),
        }
    }
    let word = word(state);
    context.out.result(&json!({ word: settled, "failed": failed }), || format!("{} {word}", settled.len()))?;
    if failed.is_empty() { Ok(()) } else { Err(Failure::failed(failed.join("\n"))) }
}

async fn wanted(store: &dyn Store, flags: &SettleFlags) -> Result<Vec<DeadLetter>, Failure> {
    if flags.all {
        let letters = store.dead_letters(flags.partner.as_ref(), BATCH).await?;
        return Ok(letters.into_iter().filter(|letter| letter.state == DeadLetterState::Kept).collect());
    }
    let mut letters = Vec::with_capacity(flags.ids.len());
    for id in &flags.ids {
        letters.push(store.dead_letter(*id).await?.ok_or_else(|| unknown(*id))?);
    }
    Ok(letters)
}

/// The message is sent first: a crash in between sends it twice, and the second is a repeat.
async fn settle_one(
    store: &dyn Store,
    clock: &dyn Clock,
    letter: DeadLetter,
    state: DeadLetterState,
    broker: Option<&Arc<dyn Broker>>,
    by: &str,
) -> Result<(), String> {
    if letter.state != DeadLetterState::Kept {
        return Err(format!("it was {} already", word(letter.state)));
    }
    let id = letter.id;
    match (state, broker) {
        (DeadLetterState::Redriven, Some(broker)) => publish(&**broker, letter).await?,
        (DeadLetterState::Redriven, None) => accept(store, clock, letter).await?,
        (DeadLetterState::Discarded | DeadLetterState::Kept, _) => {}
    }
    match store.settle_dead_letter(id, state, by, clock.now()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("somebody else has just settled it".into()),
        Err(error) => Err(error.to_string()),
    }
}

async fn publish(broker: &dyn Broker, letter: DeadLetter) -> Result<(), String> {
    let message = Message {
        exchange: letter.exchange,
        routing_key: letter.routing_key,
        body: letter.body.into(),
        properties: Properties {
            message_id: letter.message_id,
            content_type: letter.content_type,
            headers: letter.headers,
            ..Properties::default()
        },
    };
    match broker.publish(message).await {
        Ok(Routing::Routed) => Ok(()),
        Ok(Routing::Unrouted) => Err("no queue takes it: run `clawback topology apply`".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Without RabbitMQ a command goes into the store, where a running `up` finds it.
async fn accept(store: &dyn Store, clock: &dyn Clock, letter: DeadLetter) -> Result<(), String> {
    let partner = topology::partner_of_exchange(&letter.exchange).unwrap_or(letter.partner);
    let content_type = letter.content_type.as_deref();
    let kind = CommandKind::parse(&letter.routing_key)
        .ok_or_else(|| format!("{:?} is not a command of this version", letter.routing_key))?;
    let command = Command::parse(kind, content_type, &letter.body).map_err(|error| error.to_string())?;
    match accepting::accept(store, clock, &partner, command, None, None).await {
        Ok(Accepted::New(_) | Accepted::Repeat(_)) => Ok(()),
        Ok(Accepted::Conflict(there)) => Err(format!("its request_id was used for another command, {}", kind::name(&there))),
        Err(error) => Err(error.to_string()),
    }
}

fn unknown(id: DeadLetterId) -> Failure {
    Failure::failed(format!("there is no dead letter {id}"))
}

fn word(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Kept => "kept",
        DeadLetterState::Redriven => "redriven",
        DeadLetterState::Discarded => "discarded",
    }
}

fn object(letter: &DeadLetter) -> Value {
    json!({
        "dead_letter_id": letter.id, "partner": letter.partner, "queue": letter.queue, "reason": letter.reason,
        "problems": serde_json::from_str::<Value>(&letter.problems).unwrap_or_default(),
        "received_at": letter.received_at, "state": word(letter.state), "settled_by": letter.settled_by,
    })
}

fn with_body(letter: &DeadLetter) -> Value {
    let mut object = object(letter);
    object["exchange"] = letter.exchange.as_str().into();
    object["routing_key"] = letter.routing_key.as_str().into();
    object["content_type"] = json!(letter.content_type);
    object["message_id"] = json!(letter.message_id);
    object["headers"] = json!(letter.headers);
    object["body"] = String::from_utf8_lossy(&letter.body).into();
    object
}

fn list(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "there are no dead letters".into();
    }
    let row = |letter: &DeadLetter| {
        [
            letter.received_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            letter.partner.to_string(),
            letter.reason.clone(),
            word(letter.state).into(),
            letter.id.to_string(),
        ]
    };
    output::table(["received", "partner", "reason", "state", "id"], letters.iter().map(row))
}

fn text(letter: &DeadLetter) -> String {
    let problems: Vec<Value> = serde_json::from_str(&letter.problems).unwrap_or_default();
    let field = |problem: &Value, name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let rows = problems
        .iter()
        .map(|problem| [field(problem, "code"), field(problem, "pointer"), field(problem, "message"), field(problem, "hint")]);
    let body: String = String::from_utf8_lossy(&letter.body).lines().map(|line| output::printable(line) + "\n").collect();
    format!(
        "dead letter {}  {}\nfrom {} at {}, published to {} with {}\n\n{}\n{body}",
        letter.id,
        word(letter.state),
        letter.queue,
        letter.received_at.format("%Y-%m-%d %H:%M:%SZ"),
        output::printable(&letter.exchange),
        output::printable(&letter.routing_key),
        output::table(["problem", "where", "what", "hint"], rows),
    )
}
