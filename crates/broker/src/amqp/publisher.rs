//! Publishing: one task, one channel in confirm mode, thousands under way.
//!
//! All publishes go through one task because the library numbers a message and queues its frames in two steps: from two threads at
//! once the numbers and the frames can come apart, and a confirm would be taken for another message's. One task also writes in
//! bunches and wakes in bunches, which is where the CPU of a busy publisher goes.
//!
//! A publish ends with its own confirm, with the end of its channel, or with its time-out, whichever comes first. Nothing is sent
//! twice here: whoever asked knows whether a repeat is harmless.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Options,
    backoff::Backoff,
    convert,
    link::{Link, State},
    returns::{Letter, Returns},
};
use crate::{MAX_BODY, Message, PublishError, Routing};

/// Publishes waiting for the task, beyond those under way.
const WAITING: usize = 1_024;

/// When a channel has died, how long its publishes may take to say so. After that they are unconfirmed without a reason.
const LAST_WORDS: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Publisher {
    jobs: mpsc::Sender<Job>,
    confirm_timeout: Duration,
    draining: CancellationToken,
    tasks: TaskTracker,
}

struct Job {
    letter: Letter,
    properties: BasicProperties,
    reply: oneshot::Sender<Result<Routing, PublishError>>,
}

impl Publisher {
    pub fn start(link: Arc<Link>, options: &Options, closing: CancellationToken) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let draining = closing.child_token();
        let desk = Desk {
            link,
            jobs: waiting,
            in_flight: options.in_flight.max(1),
            confirm_timeout: options.confirm_timeout,
            draining: draining.clone(),
        };
        let tasks = TaskTracker::new();
        tasks.spawn(desk.run());
        tasks.close();
        Self { jobs, confirm_timeout: options.confirm_timeout, draining, tasks }
    }

    pub async fn publish(&self, message: Message) -> Result<Routing, PublishError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::new(message, reply)?;
        if self.draining.is_cancelled() {
            return Err(PublishError::Closed);
        }
        let published = async {
            self.jobs.send(job).await.map_err(|_| PublishError::Closed)?;
            answer.await.unwrap_or_else(|_| Err(PublishError::Unconfirmed("the connection was lost".to_owned())))
        };
        let late = || PublishError::Unconfirmed(format!("no confirm within {:?}", self.confirm_timeout));
        timeout(self.confirm_timeout, published).await.unwrap_or_else(|_| Err(late()))
    }

    /// Takes no more, and completes when what was taken is confirmed.
    pub async fn drain(&self) {
        self.draining.cancel();
        self.tasks.wait().await;
    }
}

impl Job {
    fn new(message: Message, reply: oneshot::Sender<Result<Routing, PublishError>>) -> Result<Self, PublishError> {
        let Message { exchange, routing_key, body, properties } = message;
        if body.len() > MAX_BODY || exchange.len() > SHORT || routing_key.len() > SHORT {
            return Err(PublishError::TooLarge);
        }
        let properties = convert::sent(properties)?;
        Ok(Self { letter: Letter { exchange, routing_key, body }, properties, reply })
    }
}

/// What AMQP allows an exchange's name and a routing key, in bytes.
const SHORT: usize = 255;

/// Where jobs become confirms.
struct Desk {
    link: Arc<Link>,
    jobs: mpsc::Receiver<Job>,
    in_flight: usize,
    confirm_timeout: Duration,
    draining: CancellationToken,
}

#[derive(PartialEq)]
enum Served {
    /// The channel is gone; there may be another.
    Lost,
    /// Drained.
    Over,
}

struct Done {
    letter: Letter,
    reply: oneshot::Sender<Result<Routing, PublishError>>,
    confirmation: lapin::Result<Confirmation>,
}

impl Desk {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        while let Some(connection) = self.connection().await {
            match timeout(self.confirm_timeout, open(&connection)).await {
                Ok(Ok(channel)) => {
                    backoff.reset();
                    if self.serve(&connection, Arc::new(channel)).await == Served::Over {
                        return;
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "no channel to publish on");
                    backoff.wait().await;
                }
                Err(_) => tracing::warn!("no channel to publish on in time"),
            }
        }
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            let _ = job.reply.send(Err(PublishError::Closed));
        }
    }

    /// `None` when the broker is closed, or drained before there was a connection again.
    async fn connection(&mut self) -> Option<Arc<Connection>> {
        tokio::select! {
            biased;
            connection = self.link.connection() => connection,
            () = self.draining.cancelled(), if self.jobs.is_empty() => None,
        }
    }

    async fn serve(&mut self, connection: &Arc<Connection>, channel: Arc<Channel>) -> Served {
        let mut state = self.link.state();
        let mut under_way = FuturesUnordered::new();
        let mut returns = Returns::default();
        let mut progress = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let blocked = match &*state.borrow_and_update() {
                State::Up { connection: current, blocked } if Arc::ptr_eq(current, connection) => *blocked,
                State::Up { .. } | State::Down | State::Closed => break,
            };
            if self.jobs.is_closed() && self.jobs.is_empty() && under_way.is_empty() {
                let _ = timeout(LAST_WORDS, channel.close(200, "drained".into())).await;
                return Served::Over;
            }
            let room = !blocked && under_way.len() < self.in_flight;
            tokio::select! {
                biased;
                _ = state.changed() => {}
                Some(first) = under_way.next(), if !under_way.is_empty() => {
                    progress = Instant::now();
                    let completed = all_completed(&channel, first, &mut under_way);
                    if !answer(completed, &mut returns) {
                        break;
                    }
                }
                Some(job) = self.jobs.recv(), if room => {
                    if under_way.is_empty() {
                        progress = Instant::now();
                    }
                    under_way.extend(begin(&channel, job));
                    while under_way.len() < self.in_flight && let Ok(job) = self.jobs.try_recv() {
                        under_way.extend(begin(&channel, job));
                    }
                }
                () = self.draining.cancelled(), if !self.jobs.is_closed() => self.jobs.close(),
                _ = look.tick(), if !under_way.is_empty() => {
                    // Every caller has given up by now: a channel that does not confirm is as good as lost.
                    if !blocked && progress.elapsed() > self.confirm_timeout {
                        tracing::warn!("the broker confirms nothing; publishing on another channel");
                        break;
                    }
                }
            }
        }
        let last_words = async {
            while let Some(done) = under_way.next().await {
                answer(vec![done], &mut returns);
            }
        };
        let _ = timeout(LAST_WORDS, last_words).await;
        Served::Lost
    }
}

async fn open(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// `None` when nobody waits for it any more: it was not sent and need not be.
fn begin(channel: &Arc<Channel>, job: Job) -> Option<impl Future<Output = Done> + use<>> {
    let Job { letter, properties, reply } = job;
    let channel = channel.clone();
    let waited_for = !reply.is_closed();
    waited_for.then_some(async move {
        let confirmation = confirmed(&channel, &letter, properties).await;
        Done { letter, reply, confirmation }
    })
}

async fn confirmed(channel: &Channel, letter: &Letter, properties: BasicProperties) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let (exchange, routing_key) = (letter.exchange.as_str().into(), letter.routing_key.as_str().into());
    channel.basic_publish(exchange, routing_key, options, &letter.body, properties).await?.await
}

/// Everything whose confirm arrived together with that of `first`, so that every return among them is seen before one is answered.
///
/// One frame may confirm many publishes, and the library completes them one by one while it holds the lock that
/// `wait_for_confirms` takes: once that call was polled, all of the frame are complete.
fn all_completed<F: Future<Output = Done>>(channel: &Channel, first: Done, under_way: &mut FuturesUnordered<F>) -> Vec<Done> {
    let _ = channel.wait_for_confirms().now_or_never();
    let mut completed = vec![first];
    while let Some(Some(done)) = under_way.next().now_or_never() {
        completed.push(done);
    }
    completed
}

/// Tells each its result; `false` if the channel is gone.
fn answer(completed: Vec<Done>, returns: &mut Returns) -> bool {
    let mut alive = true;
    let mut outcomes = Vec::with_capacity(completed.len());
    for Done { letter, reply, confirmation } in completed {
        let outcome = match confirmation {
            Ok(confirmation) => {
                let acked = confirmation.is_ack();
                if let Some(message) = confirmation.take_message() {
                    returns.came_back(letter_of(message));
                }
                if acked { Ok(()) } else { Err(PublishError::Refused) }
            }
            Err(error) => {
                alive = false;
                Err(convert::publish_error(&error, &letter.exchange, letter.body.len()))
            }
        };
        outcomes.push((letter, reply, outcome));
    }
    for (letter, reply, outcome) in outcomes {
        // A caller that has given up is not there to be told.
        let _ = reply.send(outcome.map(|()| returns.routing(&letter)));
    }
    alive
}

fn letter_of(message: lapin::message::BasicReturnMessage) -> Letter {
    let returned = message.delivery;
    Letter {
        exchange: returned.exchange.to_string(),
        routing_key: returned.routing_key.to_string(),
        body: Bytes::from(returned.data),
    }
}
