//! Group commit: the writes of concurrent callers share one transaction, yet each caller gets its own result.
//!
//! Callers put their write into a bounded queue and wait. One task takes all that is waiting, writes it as one transaction, commits,
//! and answers each. While it commits, the next batch gathers, so that batches grow with the load by themselves and nothing is
//! ever delayed to make them grow.
//!
//! What it survives: a caller that is dropped (its write goes on), a bad row (found by halving the batch until it fails alone), a
//! deadlock (again), a connection that is lost before COMMIT (nothing was written: once more on a fresh one) and one that is lost
//! in COMMIT (*unknown*, for every caller of the batch; nobody guesses).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    batch::{self, Write},
    connect::Link,
    failure::Failure,
    write::{self, Done},
};
use crate::StoreError;

/// How many writes wait before callers do. It bounds memory; callers are bounded by their permits long before.
pub const QUEUE: usize = 4096;

/// How often a batch is tried again after a deadlock or while the database is busy.
const MOST_AGAIN: u32 = 6;

/// The wait before the first such time; it doubles.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Begin and statements, or COMMIT. Above the server's own time-outs: it guards against a server that says nothing at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// One caller's write, and where its result goes.
pub struct Job {
    pub write: Write,
    pub reply: oneshot::Sender<Result<Done, StoreError>>,
}

/// How many commits there were, and how many writes they held.
#[derive(Debug, Default)]
pub struct Tally {
    commits: AtomicU64,
    writes: AtomicU64,
}

impl Tally {
    /// (commits, writes).
    pub fn read(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

/// The task that writes.
pub struct Writer {
    pub link: Link,
    pub jobs: mpsc::Receiver<Job>,
    pub tally: Arc<Tally>,
}

impl Writer {
    /// Runs until every sender is gone and all that was sent is written.
    pub async fn run(mut self) {
        let mut waiting = VecDeque::new();
        while self.gather(&mut waiting).await {
            let batch = batch::compose(&mut waiting, |job: &mut Job| &mut job.write);
            self.commit(batch).await;
        }
    }

    /// Takes what is waiting in the queue, and waits for something only if there is nothing. `false` at the end.
    async fn gather(&mut self, waiting: &mut VecDeque<Job>) -> bool {
        if waiting.is_empty() {
            match self.jobs.recv().await {
                Some(job) => waiting.push_back(job),
                None => return false,
            }
        }
        while waiting.len() < QUEUE
            && let Ok(job) = self.jobs.try_recv()
        {
            waiting.push_back(job);
        }
        true
    }

    /// Writes a batch and answers everyone in it. A batch that is refused is halved until what is refused stands alone.
    async fn commit(&mut self, batch: Vec<Job>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.persist(&part).await {
                Ok(done) => part.into_iter().zip(done).for_each(|(job, done)| answer(job, Ok(done))),
                Err(Failure::Refused(_)) if part.len() > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(failure) => {
                    warn!(?failure, writes = part.len(), "a batch was not committed");
                    part.into_iter().for_each(|job| answer(job, Err(failure.clone().into())));
                }
            }
        }
    }

    /// One transaction, tried again where that is safe and may help.
    async fn persist(&mut self, jobs: &[Job]) -> Result<Vec<Done>, Failure> {
        let writes: Vec<&Write> = jobs.iter().map(|job| &job.write).collect();
        let (mut again, mut lost) = (0, false);
        loop {
            let result = transact(&mut self.link, &writes).await;
            if let Err(Failure::Lost(_) | Failure::Unknown(_)) = &result {
                self.link.reset();
            }
            match result {
                Err(Failure::Again(why)) if again < MOST_AGAIN => {
                    debug!(%why, "a batch is tried again");
                    tokio::time::sleep(AGAIN_AFTER * 2u32.pow(again)).await;
                    again += 1;
                }
                Err(Failure::Lost(_)) if !lost => lost = true,
                Ok(done) => {
                    self.tally.commits.fetch_add(1, Ordering::Relaxed);
                    self.tally.writes.fetch_add(done.len() as u64, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

async fn transact(link: &mut Link, writes: &[&Write]) -> Result<Vec<Done>, Failure> {
    let statements = async {
        let mut tx = link.begin().await?;
        let done = write::write(&mut tx, writes).await?;
        Ok((tx, done))
    };
    let (tx, done) = timeout(PATIENCE, statements)
        .await
        .map_err(|_| Failure::Lost("the database did not answer in time".into()))?
        .map_err(|error| Failure::of_statement(&error))?;
    // From here on an error proves nothing, unless the server itself says that it rolled back.
    timeout(PATIENCE, tx.commit())
        .await
        .map_err(|_| Failure::Unknown("the database did not answer COMMIT in time".into()))?
        .map_err(|error| Failure::of_commit(&error))?;
    Ok(done)
}

/// A caller that is gone needs no answer; its write stands all the same. The write is dropped first, so that the caller alone has it.
fn answer(Job { write, reply }: Job, result: Result<Done, StoreError>) {
    drop(write);
    reply.send(result).ok();
}
