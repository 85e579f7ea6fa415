//! The stand-in as an HTTP server: bare hyper, HTTP/1.1, every fault as it looks on the wire.
//!
//! The effect comes first, then the latency, then the answer: who hangs up in between has bought all the same. Nothing is logged
//! per request, and an answer costs a few microseconds, because the benchmark runs against this. It is made for loopback: it
//! bounds what it keeps, but trusts that its callers mean well.

use std::{error::Error, sync::Arc, time::Duration};

use clawback_domain::Time;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::engine::Shared;

mod answer;
mod body;
mod route;

use body::Broken;

/// Beyond these, callers wait in the listener's backlog: a process has 16,384 file descriptors or more where load is tested.
const MAX_CONNECTIONS: usize = 12_000;

/// How long calls in flight may take to finish once the server is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// How slow the way is. The rest is the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// Between a call's effect and its answer.
    pub latency: Duration,
    /// How long a call that times out is held before its connection is closed; longer than any caller waits.
    pub hang: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { latency: Duration::from_millis(20), hang: Duration::from_secs(300) }
    }
}

struct Server {
    engine: Shared,
    options: ServerOptions,
    /// Wakes the polls that are held when the clock was moved.
    moved: watch::Sender<()>,
}

impl Server {
    fn now(&self) -> Time {
        chrono::Utc::now()
    }
}

/// Serves until `shutdown` completes, then lets calls in flight finish within two seconds and cuts the rest.
///
/// Every route of the pages lives below `/api/v1/` and below `/_/api/v1/`; those below `/_control/` (`ledger`, `clock`, `windows`) need no
/// key.
pub async fn serve(listener: TcpListener, engine: Shared, options: ServerOptions, shutdown: impl Future<Output = ()>) {
    let server = Arc::new(Server { engine, options, moved: watch::Sender::new(()) });
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, slot) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        tasks.spawn(connection(Arc::clone(&server), stream, slot, closing.clone()));
    }
    drop(listener);
    closing.cancel();
    tasks.close();
    tasks.wait().await;
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    /// Out of file descriptors, most likely: some connection has to end first.
    const AFTER_ERROR: Duration = Duration::from_millis(50);
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(%error, "the sandbox cannot accept a connection");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, _slot: OwnedSemaphorePermit, closing: CancellationToken) {
    // Without it Nagle's algorithm delays the second part of an answer by 40 ms.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer::answer(Arc::clone(&server), request));
    let mut connection = http1::Builder::new().max_buf_size(body::MAX_REQUEST).serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            match timeout(GRACE, &mut connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if ended.is_err_and(|error| is_reset(&error)) {
        // Closing a socket that does not linger sends RST.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    error.source().and_then(|source| source.downcast_ref()) == Some(&Broken::Reset)
}
