//! `worker`, `scheduler` and `api`: one role per process, on RabbitMQ and a shared database.

use std::{future::Future, net::SocketAddr, time::Duration};

use clawback_scheduler::Scheduler;
use clawback_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    process::{Process, RoleFlags},
    signals,
};
use crate::{
    config::{Needs, Setup},
    context::{Context, Missing, follow_database_url, open_amqp, open_sql, refuse_unmigrated, topology},
    failure::Failure,
    http::{self, Api, ApiPartner, server},
};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  CLAWBACK_CONFIG=clawback.toml clawback api --listen 0.0.0.0:8080")]
pub struct ApiFlags {
    /// Where partners reach the HTTP API
    #[arg(long, env = "CLAWBACK_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub role: RoleFlags,
}

/// `clawback worker`
///
/// # Errors
/// What stands in the way, in a sentence.
pub async fn worker(context: &Context, flags: RoleFlags) -> Result<(), Failure> {
    let Some(process) = start(context, Needs::KEYS, &flags).await? else { return Ok(()) };
    let worker = process.worker()?;
    worker.run(process.shutdown.clone(), process.drain()).await;
    process.finish().await;
    Ok(())
}

/// `clawback scheduler`
///
/// # Errors
/// What stands in the way, in a sentence.
pub async fn scheduler(context: &Context, flags: RoleFlags) -> Result<(), Failure> {
    let Some(process) = start(context, Needs::NOTHING, &flags).await? else { return Ok(()) };
    process.nothing_to_reload();
    process.watch_secrets(None);
    process.count_stored();
    let scheduler = Scheduler::new(process.store.clone(), process.broker.clone(), process.clock.clone(), process.partner_ids());
    tracing::info!(partners = process.setup.partners.len(), "the scheduler has started");
    tokio::join!(scheduler.run(process.shutdown.clone()), process.pruner().run(process.shutdown.clone()));
    process.finish().await;
    Ok(())
}

/// `clawback api`
///
/// # Errors
/// What stands in the way, in a sentence.
pub async fn api(context: &Context, flags: ApiFlags) -> Result<(), Failure> {
    let Some(process) = start(context, Needs::TOKENS, &flags.role).await? else { return Ok(()) };
    process.nothing_to_reload();
    process.watch_secrets(None);
    let listener = bind(flags.listen).await?;
    if !serve_api(&process, listener).await? {
        return Err(Failure::usage("no partner has a token for the HTTP API: set CLAWBACK_TOKEN, or token_file of a partner"));
    }
    process.finish().await;
    Ok(())
}

/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::failed(format!("CLAWBACK_LISTEN {address} cannot be bound: {error}")))
}

/// Serves the partners' API until the process stops. `false` at once when no partner has a token.
///
/// # Errors
/// The listener has no address.
pub async fn serve_api(process: &Process, listener: TcpListener) -> Result<bool, Failure> {
    let partners: Vec<_> = process.setup.partners.iter().filter_map(ApiPartner::of).collect();
    if partners.is_empty() {
        return Ok(false);
    }
    let address = listener.local_addr().map_err(Failure::failed)?;
    tracing::info!(%address, partners = partners.len(), "serving the HTTP API");
    let api = Api {
        store: process.store.clone(),
        broker: process.broker.clone(),
        clock: process.clock.clone(),
        partners: partners.into(),
        shutdown: process.shutdown.clone(),
        asked: http::Asked::default(),
    };
    server::serve(listener, http::router(api), process.shutdown.clone()).await;
    Ok(true)
}

/// Connects, checks schema and topology, and puts the process together. `None`: it was asked to stop before.
async fn start(context: &Context, needs: Needs, flags: &RoleFlags) -> Result<Option<Process>, Failure> {
    let setup = context.setup(needs)?;
    let (Some(amqp), Some(_)) = (setup.amqp.clone(), &setup.database) else {
        return Err(Failure::usage(
            "a role of its own needs both AMQP_URL and DATABASE_URL; `clawback up` runs every role in one process without them",
        ));
    };
    refuse_no_partners(&setup)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone());
    let connecting = async {
        let store = open_sql(&setup, Missing::Refuse).await?;
        patiently("the store", || async {
            follow_database_url(&setup, &store).map_err(Failure::failed)?;
            store.clock().await.map_err(Failure::from)
        })
        .await?;
        refuse_unmigrated(&*store).await?;
        let broker = patiently("RabbitMQ", || open_amqp(&amqp)).await?;
        let wanted = topology(&setup.partners);
        let mismatches = broker.check(&wanted).await?;
        if !mismatches.is_empty() {
            let list: Vec<_> = mismatches.iter().map(|mismatch| format!("  {}", mismatch.0)).collect();
            let list = list.join("\n");
            return Err(Failure::failed(format!("RabbitMQ is not set up: run `clawback topology apply`\n{list}")));
        }
        // All of it is there. Declaring makes the broker remember what to declare again, should the queues be wiped; a login
        // without the permission to configure does without.
        if let Err(error) = broker.declare(&wanted).await {
            tracing::debug!(%error, "the topology is checked, but will not be declared again by this process");
        }
        Process::start(setup.clone(), store, broker, flags.ops_listen, shutdown.clone()).await
    };
    shutdown.run_until_cancelled(connecting).await.transpose()
}

/// # Errors
/// Nobody to work for, and what to do.
pub fn refuse_no_partners(setup: &Setup) -> Result<(), Failure> {
    if setup.partners.is_empty() {
        return Err(Failure::usage(
            "no partner is configured: set PHYGITALS_API_KEY, or write a [[partner]] into clawback.toml (`clawback config print` \
             shows every key)",
        ));
    }
    Ok(())
}

/// A role may start before what it depends on: tries again for a while.
pub(super) async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
    what: &str,
    attempt: impl Fn() -> F,
) -> Result<T, Failure> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const AGAIN: Duration = Duration::from_secs(1);
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if tokio::time::Instant::now() + AGAIN > end => return Err(error),
            Err(error) => tracing::warn!("{what} is not there yet, trying again: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
