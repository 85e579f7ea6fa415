//! `clawback topology print | apply | check`

use clap::Subcommand;
use serde_json::json;

use crate::{
    config::{Needs, ServerUrl, Setup},
    context::{Context, open_amqp, topology},
    failure::Failure,
    output,
    roles::refuse_no_partners,
};

#[derive(Debug, Subcommand)]
pub enum TopologyVerb {
    /// Exchanges, queues and bindings; with --json as RabbitMQ's definitions
    #[command(
        after_help = "Example:\n  clawback topology print --json > definitions.json && rabbitmqctl import_definitions definitions.json"
    )]
    Print {
        /// The virtual host that the definitions name
        #[arg(long, default_value = "/")]
        vhost: String,
    },
    /// Declares what is missing; what is there already is left alone
    #[command(after_help = "Example:\n  AMQP_URL=amqp://… clawback topology apply")]
    Apply,
    /// Compares, and creates nothing; exit 1 on any difference
    #[command(after_help = "Example:\n  AMQP_URL=amqp://… clawback topology check")]
    Check,
}

/// # Errors
/// RabbitMQ, or a difference.
pub async fn run(context: &Context, verb: TopologyVerb) -> Result<(), Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    refuse_no_partners(&setup)?;
    let wanted = topology(&setup.partners);
    match verb {
        TopologyVerb::Print { vhost } => context.out.result(&wanted.definitions(&vhost), || text(&wanted)),
        TopologyVerb::Apply => {
            let broker = open_amqp(amqp(&setup)?).await?;
            broker.declare(&wanted).await?;
            broker.close(std::time::Duration::from_secs(5)).await;
            let queues = wanted.queues().len();
            context.out.result(&json!({ "applied": true, "queues": queues }), || {
                format!("{queues} queues of {} partners are declared", wanted.partners.len())
            })
        }
        TopologyVerb::Check => {
            let broker = open_amqp(amqp(&setup)?).await?;
            let found: Vec<_> = broker.check(&wanted).await?.into_iter().map(|mismatch| mismatch.0).collect();
            broker.close(std::time::Duration::from_secs(5)).await;
            context.out.result(&json!({ "differences": &found }), || match found.is_empty() {
                true => "RabbitMQ has all of it".into(),
                false => found.join("\n"),
            })?;
            if found.is_empty() { Ok(()) } else { Err(Failure::failed("run `clawback topology apply`")) }
        }
    }
}

fn amqp(setup: &Setup) -> Result<&ServerUrl, Failure> {
    setup.amqp.as_ref().ok_or_else(|| Failure::usage("this needs AMQP_URL: the embedded broker declares by itself"))
}

fn text(topology: &clawback_broker::Topology) -> String {
    let exchanges =
        topology.exchanges().into_iter().map(|exchange| [exchange.name, format!("{:?}", exchange.kind).to_lowercase()]);
    let bindings = topology.bindings().into_iter().map(|binding| [binding.queue, binding.exchange, binding.routing_key]);
    format!(
        "{}\n{}",
        output::table(["exchange", "kind"], exchanges),
        output::table(["queue", "bound to", "routing key"], bindings)
    )
}
