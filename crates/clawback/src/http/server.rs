//! A small HTTP server: hyper with the time-outs and bounds that `axum::serve` has no switch for.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A client that takes longer to send its headers is not one of ours.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// Connections at once. More wait in the kernel's queue: each costs a file and some memory.
const CONNECTIONS: usize = 1024;

/// After a failed accept (out of files) a pause instead of a busy loop.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; then finishes the requests under way.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else { break };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            let _permit = permit;
            converse(TokioIo::new(socket), router, shutdown).await;
        });
    }
    connections.close();
    connections.wait().await;
}

async fn converse(socket: TokioIo<tokio::net::TcpStream>, router: Router, shutdown: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .half_close(false)
        .serve_connection(socket, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
