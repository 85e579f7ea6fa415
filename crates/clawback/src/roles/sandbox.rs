//! `clawback sandbox`: the stand-in upstream as a server; and the same, built into `up` and `demo`.

use std::{net::SocketAddr, time::Duration};

use clawback_sandbox::{
    Engine, Fault, Mode, Options,
    engine::Shared,
    options::DEMO_KEY,
    server::{self, ServerOptions},
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::signals;
use crate::{config::parse_duration, context::Context, failure::Failure};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  clawback sandbox --mode production --settle 2s --fault init:reset-after=0.01")]
pub struct SandboxFlags {
    /// Where it listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub behaviour: Behaviour,
}

/// How the stand-in behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Behaviour {
    /// Which of the two documented environments: sandbox or production
    #[arg(long, default_value = "sandbox")]
    pub mode: Mode,
    /// Between a call's effect and its answer
    #[arg(long, default_value = "20ms", value_parser = parse_duration, value_name = "SPAN")]
    pub latency: Duration,
    /// How long after buy/init a purchase is fulfilled (production)
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "SPAN")]
    pub settle: Duration,
    /// How long buy/status holds the call before it says pending (production)
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "SPAN")]
    pub poll_window: Duration,
    /// How often buy/status says pending at least (production)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub pending_polls: u32,
    /// What goes wrong, and in which share of the calls; repeatable
    #[arg(long = "fault", value_name = "[ENDPOINT:]KIND=RATE")]
    pub faults: Vec<Fault>,
    /// Draws the same items and faults again
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// A key that is let in, each an account of its own; repeatable [default: sandbox-demo]
    #[arg(long = "api-key", value_name = "KEY")]
    pub api_keys: Vec<String>,
}

impl Behaviour {
    /// The engine, which lets in these keys and those of the flags.
    pub fn engine(&self, keys: impl IntoIterator<Item = String>) -> Shared {
        let mut api_keys: Vec<String> = self.api_keys.iter().cloned().chain(keys).collect();
        if api_keys.is_empty() {
            api_keys.push(DEMO_KEY.into());
        }
        Engine::shared(Options {
            mode: self.mode,
            settle: self.settle,
            poll_window: self.poll_window,
            pending_polls: self.pending_polls,
            seed: self.seed,
            faults: self.faults.clone(),
            api_keys,
            ..Options::default()
        })
    }

    pub fn server(&self) -> ServerOptions {
        ServerOptions { latency: self.latency, ..ServerOptions::default() }
    }
}

/// `clawback sandbox`
///
/// # Errors
/// The address cannot be bound.
pub async fn run(context: &Context, flags: SandboxFlags) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone());
    signals::on_hangup(|| tracing::warn!("SIGHUP: the sandbox has no configuration to reload"));
    let (listener, url) = bind(flags.listen).await?;
    context.out.result(&json!({ "url": url }), || {
        format!("the sandbox listens on {url}; its ledger is {url}/_control/ledger; SIGTERM or Ctrl-C ends it")
    })?;
    let engine = flags.behaviour.engine([]);
    server::serve(listener, engine, flags.behaviour.server(), shutdown.cancelled_owned()).await;
    Ok(())
}

/// The listener and the base URL that reaches it.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<(TcpListener, String), Failure> {
    let refuse = |error| Failure::failed(format!("the sandbox cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let url = format!("http://{}", listener.local_addr().map_err(refuse)?);
    Ok((listener, url))
}
