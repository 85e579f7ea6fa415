//! Settling many deliveries with few frames.
//!
//! Delivery tags of a channel rise by one, and one ack may stand for all up to its tag. So acks wait a few milliseconds for their
//! neighbours: a run from the lowest open tag on goes out as one frame, at once when it is long enough. What is done behind a slow
//! neighbour waits longer, for each ack by itself is a command of its own to a quorum queue; in the end it goes out alone. Losing an
//! ack that waits is as harmless as losing one on its way: the delivery comes again and finds its row.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::window::{Ack, Window};
use crate::{Settle, Settlement, Stale};

mod window;

/// The settlements of one channel.
pub(super) struct Acks {
    channel: Channel,
    flusher: Arc<Flusher>,
    inner: Mutex<Inner>,
    /// Told when the channel has died, and when nothing of it is held any more.
    pub changed: Notify,
}

struct Inner {
    window: Window,
    /// Deliveries in somebody's hands, settled or not.
    held: usize,
    closed: bool,
    /// On the flusher's list.
    listed: bool,
    /// Since when something is done behind a neighbour that is not.
    behind: Option<Instant>,
}

/// How long an ack waits behind a slow neighbour, in delays.
const BEHIND: u32 = 20;

impl Acks {
    /// Up to `run` acks travel as one.
    pub fn new(channel: Channel, run: usize, flusher: Arc<Flusher>) -> Arc<Self> {
        let inner = Inner { window: Window::new(run), held: 0, closed: false, listed: false, behind: None };
        Arc::new(Self { channel, flusher, inner: Mutex::new(inner), changed: Notify::new() })
    }

    pub fn handle(self: &Arc<Self>, tag: u64) -> Box<dyn Settle> {
        self.inner.lock().held += 1;
        Box::new(Handle { acks: self.clone(), tag })
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    pub fn is_held(&self) -> bool {
        self.inner.lock().held > 0
    }

    /// From now on every settlement is stale.
    pub fn close(&self) {
        self.inner.lock().closed = true;
    }

    /// Sends what waits.
    pub fn flush(&self) {
        let mut inner = self.inner.lock();
        inner.listed = false;
        self.send_all(&mut inner);
    }

    /// Sends the run at the front, and what waits behind a slow neighbour if it did so long enough. `true` when something waits still.
    fn flush_front(&self, delay: Duration) -> bool {
        let mut inner = self.inner.lock();
        if let Some(front) = inner.window.take_front().filter(|_| !inner.closed) {
            inner.behind = None;
            let sent = self.send(front);
            self.died_unless(sent, &mut inner);
        }
        if inner.window.waits() && inner.behind.get_or_insert_with(Instant::now).elapsed() >= delay * BEHIND {
            self.send_all(&mut inner);
        }
        inner.listed = inner.window.waits() && !inner.closed;
        inner.listed
    }

    fn send_all(&self, inner: &mut Inner) {
        inner.behind = None;
        let acks = inner.window.take_all();
        if !inner.closed {
            let sent = acks.into_iter().all(|ack| self.send(ack));
            self.died_unless(sent, inner);
        }
    }

    fn settle(self: &Arc<Self>, tag: u64, settlement: Settlement) -> Result<(), Stale> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Stale);
        }
        let sent = match settlement {
            Settlement::Ack => inner.window.done(tag).is_none_or(|ack| self.send(ack)),
            Settlement::Requeue => {
                inner.window.given_back(tag);
                self.send_requeue(tag)
            }
        };
        self.died_unless(sent, &mut inner);
        if inner.window.waits() && !inner.listed && !inner.closed {
            inner.listed = true;
            self.flusher.list(self.clone());
        }
        if inner.closed { Err(Stale) } else { Ok(()) }
    }

    fn died_unless(&self, sent: bool, inner: &mut Inner) {
        if !sent {
            inner.closed = true;
            self.changed.notify_one();
        }
    }

    /// The first poll queues the frame; what follows is only the news that it was written.
    fn send(&self, ack: Ack) -> bool {
        let options = BasicAckOptions { multiple: ack.multiple };
        !matches!(self.channel.basic_ack(ack.tag, options).now_or_never(), Some(Err(_)))
    }

    fn send_requeue(&self, tag: u64) -> bool {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        !matches!(self.channel.basic_nack(tag, options).now_or_never(), Some(Err(_)))
    }

    fn release(&self) {
        let mut inner = self.inner.lock();
        inner.held -= 1;
        if inner.held == 0 {
            self.changed.notify_one();
        }
    }
}

struct Handle {
    acks: Arc<Acks>,
    tag: u64,
}

#[async_trait]
impl Settle for Handle {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), Stale> {
        self.acks.settle(self.tag, settlement)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.acks.release();
    }
}

/// Sends what waits on any channel, once per delay: one timer for all consumers.
#[derive(Default)]
pub(super) struct Flusher {
    listed: Mutex<Vec<Arc<Acks>>>,
    some: Notify,
}

impl Flusher {
    pub fn start(delay: Duration, closing: CancellationToken) -> Arc<Self> {
        let flusher = Arc::new(Self::default());
        let task = flusher.clone();
        tokio::spawn(async move {
            while closing.run_until_cancelled(task.some.notified()).await.is_some() {
                tokio::time::sleep(delay).await;
                task.flush(delay);
            }
        });
        flusher
    }

    fn flush(&self, delay: Duration) {
        let listed = std::mem::take(&mut *self.listed.lock());
        listed.into_iter().filter(|acks| acks.flush_front(delay)).for_each(|acks| self.list(acks));
    }

    fn list(&self, acks: Arc<Acks>) {
        let mut listed = self.listed.lock();
        listed.push(acks);
        if listed.len() == 1 {
            self.some.notify_one();
        }
    }
}
