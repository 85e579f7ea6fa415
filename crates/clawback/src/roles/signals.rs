//! SIGTERM and SIGINT drain, a second one exits at once; SIGHUP reloads.

use std::process;

use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that SIGTERM ended.
const CUT_SHORT: i32 = 143;

/// Cancels `shutdown` at the first signal to stop. The second ends the process without a drain: whatever it held comes due by
/// itself.
pub fn listen(shutdown: CancellationToken) {
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("asked to stop; a second signal stops at once");
        shutdown.cancel();
        stop_signal().await;
        tracing::warn!("asked again: stopping at once");
        process::exit(CUT_SHORT);
    });
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::warn!("signals cannot be listened to; stopping needs a kill");
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// Calls `reload` at each SIGHUP. A role with nothing to reload listens as well: unheard, the signal would kill it.
pub fn on_hangup(reload: impl Fn() + Send + 'static) {
    #[cfg(unix)]
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            reload();
        }
    });
    #[cfg(not(unix))]
    drop(reload);
}
