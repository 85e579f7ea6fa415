//! `clawback up`: every role in one process.
//!
//! On one machine it needs nothing else: a SQLite file and a broker in memory. With `AMQP_URL` and `DATABASE_URL` it is the same
//! process on RabbitMQ and PostgreSQL. It migrates and declares by itself.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use clawback_broker::{Broker, Embedded};
use clawback_domain::PartnerId;
use clawback_sandbox::{options::DEMO_KEY, server};
use clawback_scheduler::Scheduler;
use clawback_store::Store;
use tokio_util::sync::CancellationToken;

use super::{
    process::{Process, RoleFlags},
    sandbox::{self, Behaviour},
    separate::{bind, refuse_no_partners, serve_api},
    signals,
};
use crate::{
    config::{Needs, Partner, Secret, Setup},
    context::{Context, Missing, open_amqp, open_sql, topology},
    failure::Failure,
};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  clawback up --sandbox\n  PHYGITALS_API_KEY_FILE=key clawback up")]
pub struct UpFlags {
    /// Start the built-in sandbox and use it as the upstream
    #[arg(long)]
    pub sandbox: bool,
    /// Where partners reach the HTTP API
    #[arg(long, env = "CLAWBACK_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub role: RoleFlags,
    #[command(flatten, next_help_heading = "Built-in sandbox (with --sandbox)")]
    pub behaviour: Behaviour,
}

/// # Errors
/// What stands in the way, in a sentence.
pub async fn run(context: &Context, flags: UpFlags) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone());
    // The sandbox outlives the worker: calls in flight must be able to end.
    let sandbox_ends = CancellationToken::new();
    let mut setup = if flags.sandbox {
        with_sandbox(context, &flags.behaviour, sandbox_ends.clone()).await?
    } else {
        context.setup(Needs::EVERYTHING)?
    };
    refuse_no_partners(&setup)?;
    make_token(&mut setup, &flags.listen)?;
    let listener = bind(flags.listen).await?;

    let store = open_sql(&setup, Missing::Create).await?;
    store.migrate().await?;
    let broker: Arc<dyn Broker> = match &setup.amqp {
        Some(url) => open_amqp(url).await?,
        None => Arc::new(Embedded::new()),
    };
    broker.declare(&topology(&setup.partners)).await?;
    let process = Process::start(setup, store, broker, flags.role.ops_listen, shutdown.clone()).await?;
    let worker = process.worker()?;
    let (store, broker, clock) = (process.store.clone(), process.broker.clone(), process.clock.clone());
    let scheduler = Scheduler::new(store, broker, clock, process.partner_ids());
    process.count_stored();
    let serving = async {
        match serve_api(&process, listener).await {
            Ok(true) => {}
            Ok(false) => tracing::info!("no partner has a token: the HTTP API is off"),
            Err(error) => tracing::error!("the HTTP API is off: {error}"),
        }
    };
    let pruning = process.pruner().run(shutdown.clone());
    tokio::join!(worker.run(shutdown.clone(), process.drain()), scheduler.run(shutdown.clone()), pruning, serving);
    process.finish().await;
    sandbox_ends.cancel();
    Ok(())
}

/// Starts the sandbox on a free port of this machine. Without a configuration its key is that of the partner `default`.
async fn with_sandbox(context: &Context, behaviour: &Behaviour, ends: CancellationToken) -> Result<Setup, Failure> {
    let (listener, url) = sandbox::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let mut flags = context.flags.clone();
    flags.phygitals_url = Some(url.clone());
    let context = Context { flags, out: context.out };
    let mut setup = context.setup(Needs::EVERYTHING)?;
    if setup.partners.is_empty() {
        setup.partners.push(sandbox_partner(&setup)?);
    }
    let keys: Vec<_> = setup.partners.iter().map(|partner| partner.api_key.expose()).collect();
    tracing::info!(url, "the built-in sandbox listens; its ledger is at /_control/ledger");
    let serving = server::serve(listener, behaviour.engine(keys), behaviour.server(), ends.cancelled_owned());
    tokio::spawn(serving);
    Ok(setup)
}

fn sandbox_partner(setup: &Setup) -> Result<Partner, Failure> {
    let token = crate::config::token_from_env(&crate::context::env).map_err(Failure::usage)?;
    Ok(Partner {
        id: PartnerId::new("default").map_err(Failure::failed)?,
        api_key: Secret::own(DEMO_KEY),
        token,
        settings: setup.file.defaults.clone(),
    })
}

/// On loopback the one partner without a configuration file gets a token of its own, kept for the next start.
fn make_token(setup: &mut Setup, listen: &SocketAddr) -> Result<(), Failure> {
    let wanted = setup.file.partners.is_empty() && listen.ip().is_loopback();
    let Some(partner) = setup.partners.first_mut().filter(|partner| wanted && partner.token.is_none()) else { return Ok(()) };
    let path = setup.data_dir.join("token");
    if !path.exists() {
        write_token(&path).map_err(|error| Failure::failed(format!("the token {} cannot be kept: {error}", path.display())))?;
    }
    partner.token = Some(Secret::from_file(path.clone()).map_err(Failure::failed)?);
    tracing::info!(file = %path.display(), "the HTTP API's bearer token is in this file");
    Ok(())
}

/// 256 random bits, readable by this user alone from the first byte on.
fn write_token(path: &Path) -> io::Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let token: [u8; 32] = rand::random();
    let text: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(options.open(path)?, "{text}")
}
