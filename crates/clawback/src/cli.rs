//! The command line: what there is to say, and where it goes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clawback_telemetry::{LogFormat, logs};

use crate::{
    config::SetupFlags,
    context::{Context, env},
    demo,
    failure::Failure,
    output::Output,
    roles::{self, ApiFlags, RoleFlags, sandbox::SandboxFlags, up::UpFlags},
    verbs,
};

/// Fulfils purchases from a claw machine and claws value back before the buyback window shuts.
#[derive(Debug, Parser)]
#[command(name = "clawback", version, propagate_version = true, arg_required_else_help = true, max_term_width = 120)]
#[command(after_help = "Example:\n  clawback demo")]
pub struct Cli {
    /// Machine output on stdout, messages on stderr
    #[arg(long, global = true)]
    json: bool,
    /// Logs on stderr: auto (people on a terminal, JSON lines elsewhere), human or json
    #[arg(long, global = true, default_value = "auto", value_parser = log_format, value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(flatten)]
    setup: SetupFlags,
    #[command(subcommand)]
    command: Command,
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be auto, human or json".into()),
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole system in one process on made-up partners
    Demo(demo::DemoFlags),
    /// Every role in one process; embedded unless AMQP_URL and DATABASE_URL are set
    Up(UpFlags),
    /// The queue consumer
    #[command(after_help = "Example:\n  AMQP_URL=amqp://… DATABASE_URL=postgres://… clawback worker")]
    Worker(RoleFlags),
    /// Finds what is due and hands it to the workers
    #[command(after_help = "Example:\n  AMQP_URL=amqp://… DATABASE_URL=postgres://… clawback scheduler")]
    Scheduler(RoleFlags),
    /// The partners' HTTP API
    Api(ApiFlags),
    /// The stand-in upstream as a server
    Sandbox(SandboxFlags),
    /// Asks for purchases and sellbacks
    Enqueue(Box<verbs::enqueue::EnqueueFlags>),
    /// The timeline of a purchase or sellback, and why it waits
    Show(verbs::show::ShowFlags),
    /// Purchases or sellbacks, newest first, or a user's items
    #[command(subcommand)]
    List(verbs::list::List),
    /// Ends a purchase or sellback that was not called yet
    Cancel(verbs::cancel::CancelFlags),
    /// Stops calling: everything, a partner, or a partner's pack; purchases, sellbacks or both
    Pause(verbs::pause::PauseFlags),
    /// Takes a pause away; what waited comes due at the partner's rate
    Resume(verbs::pause::PauseFlags),
    /// What is paused, by whom and why
    #[command(after_help = "Example:\n  clawback paused --json")]
    Paused,
    /// Purchases and sellbacks that wait for a person's word
    #[command(subcommand)]
    Review(verbs::review::ReviewVerb),
    /// Messages that could not be handled
    #[command(subcommand)]
    Dead(verbs::dead::Dead),
    /// Proves that every purchase and sellback is accounted for and that the books agree
    Audit(verbs::audit::AuditFlags),
    /// What partners are told
    #[command(subcommand)]
    Events(verbs::events::Events),
    /// Partners' endpoints, and what waits for them
    #[command(subcommand)]
    Webhooks(verbs::webhooks::Webhooks),
    /// Warnings of users, planned and past
    #[command(subcommand)]
    Warnings(verbs::warnings::WarningsVerb),
    /// What is configured to happen before buyback windows shut
    #[command(subcommand)]
    Rules(verbs::rules::RulesVerb),
    /// Removes what is over and older than `retention` says, as the scheduler does every hour
    Prune(verbs::prune::PruneFlags),
    /// Brings the store's schema up to date
    Migrate(verbs::migrate::MigrateFlags),
    /// Exchanges and queues of the configured partners
    #[command(subcommand)]
    Topology(verbs::topology::TopologyVerb),
    /// The configuration
    #[command(subcommand)]
    Config(verbs::config::ConfigVerb),
    /// JSON Schemas of commands and events, and the AsyncAPI document
    Schema(verbs::schema::SchemaFlags),
    /// Checks each part and says what to do
    #[command(after_help = "Example:\n  clawback doctor")]
    Doctor,
    /// A completion script for a shell
    Completions(verbs::completions::CompletionsFlags),
}

impl Command {
    /// Roles tell what they do; verbs only what went wrong.
    fn log_level(&self) -> &'static str {
        match self {
            Command::Up(_) | Command::Worker(_) | Command::Scheduler(_) | Command::Api(_) | Command::Sandbox(_) => "info",
            // The demo plants faults; what the parts say of them would drown what it shows.
            Command::Demo(_) => "off",
            _ => "warn",
        }
    }
}

/// Runs what the command line says.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let context = Context { flags: cli.setup, out: Output { json: cli.json } };
    if let Err(error) = logs::start(cli.log_format, env("RUST_LOG").as_deref(), cli.command.log_level()) {
        context.out.say(&format!("error: {error}"));
        return ExitCode::from(2);
    }
    match dispatch(&context, cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Closed) {
                context.out.say(&format!("error: {failure}"));
            }
            failure.exit_code()
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(flags) => demo::run(context, flags).await,
        Command::Up(flags) => roles::up::run(context, flags).await,
        Command::Worker(flags) => roles::worker(context, flags).await,
        Command::Scheduler(flags) => roles::scheduler(context, flags).await,
        Command::Api(flags) => roles::api(context, flags).await,
        Command::Sandbox(flags) => roles::sandbox::run(context, flags).await,
        Command::Enqueue(flags) => verbs::enqueue::run(context, *flags).await,
        Command::Show(flags) => verbs::show::run(context, flags).await,
        Command::List(list) => verbs::list::run(context, list).await,
        Command::Cancel(flags) => verbs::cancel::run(context, flags).await,
        Command::Pause(flags) => verbs::pause::pause(context, flags).await,
        Command::Resume(flags) => verbs::pause::resume(context, flags).await,
        Command::Paused => verbs::pause::paused(context).await,
        Command::Review(verb) => verbs::review::run(context, verb).await,
        Command::Dead(dead) => verbs::dead::run(context, dead).await,
        Command::Audit(flags) => verbs::audit::run(context, flags).await,
        Command::Events(events) => verbs::events::run(context, events).await,
        Command::Webhooks(verb) => verbs::webhooks::run(context, verb).await,
        Command::Warnings(verb) => verbs::warnings::run(context, verb).await,
        Command::Rules(verb) => verbs::rules::run(context, verb).await,
        Command::Prune(flags) => verbs::prune::run(context, flags).await,
        Command::Migrate(flags) => verbs::migrate::run(context, flags).await,
        Command::Topology(verb) => verbs::topology::run(context, verb).await,
        Command::Config(verb) => verbs::config::run(context, verb),
        Command::Schema(flags) => verbs::schema::run(context, flags),
        Command::Doctor => verbs::doctor::run(context).await,
        Command::Completions(flags) => verbs::completions::run::<Cli>(context, flags),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_verb_has_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        check(&command);
    }

    fn check(command: &clap::Command) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            if verb.has_subcommands() {
                check(verb);
            } else {
                let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Example"), "{} has no example", verb.get_name());
            }
        }
    }
}
