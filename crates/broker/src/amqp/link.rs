//! A connection that comes back: lost, it is opened again with backoff, and whoever uses it learns of the new one.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{backoff::Backoff, endpoint::Endpoint};
use crate::{BrokerError, Health};

/// The library reports a loss as an event; should it ever forget to, this looks for itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For closing in good order. A connection that RabbitMQ blocks never gets an answer.
const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) enum State {
    Up { connection: Arc<Connection>, blocked: bool },
    Down,
    Closed,
}

pub(super) struct Link {
    state: watch::Receiver<State>,
    tasks: TaskTracker,
}

impl Link {
    pub async fn connect(endpoint: Arc<Endpoint>, role: &'static str, closing: CancellationToken) -> Result<Self, BrokerError> {
        let connection = Arc::new(endpoint.connect(role).await?);
        let (announce, state) = watch::channel(State::Up { connection: connection.clone(), blocked: false });
        let tasks = TaskTracker::new();
        tasks.spawn(supervise(Supervised { endpoint, role, announce, closing }, connection));
        tasks.close();
        Ok(Self { state, tasks })
    }

    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub fn health(&self) -> Health {
        match &*self.state.borrow() {
            State::Up { blocked: true, .. } => Health::Blocked,
            State::Up { .. } => Health::Connected,
            State::Down | State::Closed => Health::Disconnected,
        }
    }

    /// The connection, as soon as there is one. `None` once the broker is closed.
    pub async fn connection(&self) -> Option<Arc<Connection>> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| !matches!(state, State::Down)).await;
        match state.as_deref() {
            Ok(State::Up { connection, .. }) => Some(connection.clone()),
            _ => None,
        }
    }

    /// Completes when `connection` is no longer the one in use.
    pub async fn lost(&self, connection: &Arc<Connection>) {
        let mut state = self.state.clone();
        let other = |state: &State| !matches!(state, State::Up { connection: current, .. } if Arc::ptr_eq(current, connection));
        let _ = state.wait_for(other).await;
    }

    /// Completes when the connection was closed for good.
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }
}

struct Supervised {
    endpoint: Arc<Endpoint>,
    role: &'static str,
    announce: watch::Sender<State>,
    closing: CancellationToken,
}

async fn supervise(link: Supervised, mut connection: Arc<Connection>) {
    loop {
        tokio::select! {
            biased;
            () = link.closing.cancelled() => break,
            () = watch_over(&link.announce, &connection) => {}
        }
        tracing::warn!(endpoint = ?link.endpoint, role = link.role, "the connection to the broker is lost");
        link.announce.send_replace(State::Down);
        let reconnected = tokio::select! {
            biased;
            () = link.closing.cancelled() => break,
            reconnected = reconnect(&link) => reconnected,
        };
        tracing::info!(endpoint = ?link.endpoint, role = link.role, "connected to the broker again");
        connection = reconnected;
        link.announce.send_replace(State::Up { connection: connection.clone(), blocked: false });
    }
    link.announce.send_replace(State::Closed);
    let _ = tokio::time::timeout(GOODBYE, connection.close(200, "closed".into())).await;
}

async fn reconnect(link: &Supervised) -> Arc<Connection> {
    let mut backoff = Backoff::default();
    loop {
        backoff.wait().await;
        match link.endpoint.connect(link.role).await {
            Ok(connection) => return Arc::new(connection),
            Err(error) => tracing::warn!(endpoint = ?link.endpoint, role = link.role, %error, "the broker is not reachable"),
        }
    }
}

/// Announces alarms; completes when the connection is lost.
async fn watch_over(announce: &watch::Sender<State>, connection: &Arc<Connection>) {
    let mut events = connection.events_listener();
    loop {
        // Between connecting and listening an event may have passed unheard, so the state is looked at, not the event.
        announce_blocked(announce, connection.status().blocked());
        if !connection.status().connected() {
            return;
        }
        match tokio::time::timeout(LOOK_EVERY, events.next()).await {
            Ok(Some(Event::ConnectionBlocked(reason))) => tracing::warn!(reason, "the broker holds publishing up"),
            Ok(Some(Event::ConnectionUnblocked)) => tracing::info!("the broker takes messages again"),
            Ok(None) => return,
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

fn announce_blocked(announce: &watch::Sender<State>, now: bool) {
    announce.send_if_modified(|state| match state {
        State::Up { blocked, .. } if *blocked != now => {
            *blocked = now;
            true
        }
        _ => false,
    });
}
