//! One thread, virtual time, a drawn schedule.
//!
//! Tasks belong to processes. Which of the ready tasks is polled next is drawn; when none is ready, time jumps to the next timer; when
//! there is no timer either, nothing will ever happen again, and that is said. A process can be killed (its tasks are dropped, at
//! whatever await they stand) or frozen (its tasks wait; their timers fire into the void until it thaws). It knows no word about
//! purchases.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use clawback_domain::clock::BoxFuture;
use parking_lot::Mutex;

/// Process 0 is the world; it is never killed.
pub type Process = u32;
pub const WORLD: Process = 0;

type TaskId = u64;

struct Task {
    process: Process,
    future: BoxFuture<'static, ()>,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    next_task: TaskId,
    next_timer: u64,
    spawned: Vec<(TaskId, Task)>,
    ready: BTreeSet<TaskId>,
    timers: BinaryHeap<Reverse<(Duration, u64, TimerId)>>,
    wakers: BTreeMap<TimerId, Waker>,
    fired: BTreeSet<TimerId>,
}

type TimerId = u64;

/// What doors hold: spawns tasks, reads and waits for virtual time.
#[derive(Clone, Default)]
pub struct Handle(Arc<Mutex<Inner>>);

impl Handle {
    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.0.lock().now
    }

    pub fn spawn(&self, process: Process, future: BoxFuture<'static, ()>) {
        let mut inner = self.0.lock();
        let id = inner.next_task;
        inner.next_task += 1;
        inner.spawned.push((id, Task { process, future }));
        inner.ready.insert(id);
    }

    pub fn sleep(&self, span: Duration) -> Sleep {
        let mut inner = self.0.lock();
        let timer = inner.next_timer;
        inner.next_timer += 1;
        let at = inner.now + span;
        inner.timers.push(Reverse((at, timer, timer)));
        Sleep { handle: self.clone(), timer }
    }
}

/// Completes at its virtual time.
pub struct Sleep {
    handle: Handle,
    timer: TimerId,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.handle.0.lock();
        if inner.fired.contains(&self.timer) {
            return Poll::Ready(());
        }
        inner.wakers.insert(self.timer, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut inner = self.handle.0.lock();
        inner.fired.remove(&self.timer);
        inner.wakers.remove(&self.timer);
    }
}

struct Ready {
    handle: Handle,
    task: TaskId,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.handle.0.lock().ready.insert(self.task);
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Virtual time reached the bound.
    Time,
    /// No task is ready and no timer is set: nothing will ever happen again.
    Silence,
    /// The bound on polls: something spins.
    Spinning,
}

#[derive(Default)]
pub struct Executor {
    handle: Handle,
    tasks: BTreeMap<TaskId, Task>,
    frozen: BTreeSet<Process>,
    pub polls: u64,
}

impl Executor {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Drops every task of the process where it stands.
    pub fn kill(&mut self, process: Process) {
        self.adopt();
        let dead: Vec<_> = self.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
        for id in dead {
            // The lock is not held here: dropping a future may wake others, or drop timers.
            let task = self.tasks.remove(&id);
            drop(task);
        }
        self.frozen.remove(&process);
    }

    pub fn freeze(&mut self, process: Process) {
        self.frozen.insert(process);
    }

    pub fn thaw(&mut self, process: Process) {
        self.frozen.remove(&process);
    }

    pub fn has_tasks(&mut self, process: Process) -> bool {
        self.adopt();
        self.tasks.values().any(|task| task.process == process)
    }

    /// Runs until virtual time `until`, at most `polls` polls. `choose(n)` draws which of `n` ready tasks is next.
    pub fn run(&mut self, until: Duration, polls: u64, mut choose: impl FnMut(usize) -> usize) -> End {
        for _ in 0..polls {
            self.adopt();
            let Some(id) = self.next_ready(&mut choose) else {
                match self.next_timer(until) {
                    None => continue,
                    Some(end) => return end,
                }
            };
            self.poll(id);
        }
        End::Spinning
    }

    /// Takes over what was spawned since.
    fn adopt(&mut self) {
        let spawned = std::mem::take(&mut self.handle.0.lock().spawned);
        self.tasks.extend(spawned);
    }

    fn next_ready(&mut self, choose: &mut impl FnMut(usize) -> usize) -> Option<TaskId> {
        let mut inner = self.handle.0.lock();
        inner.ready.retain(|id| self.tasks.contains_key(id));
        let awake: Vec<TaskId> =
            inner.ready.iter().copied().filter(|id| !self.frozen.contains(&self.tasks[id].process)).take(64).collect();
        if awake.is_empty() {
            return None;
        }
        let id = awake[choose(awake.len())];
        inner.ready.remove(&id);
        Some(id)
    }

    /// Lets time pass to the next timer. `Some` when there is none before `until`.
    fn next_timer(&mut self, until: Duration) -> Option<End> {
        let waker = {
            let mut inner = self.handle.0.lock();
            match inner.timers.peek() {
                // What is frozen will go on once it thaws.
                None if !self.frozen.is_empty() => {
                    inner.now = until;
                    return Some(End::Time);
                }
                None => return Some(End::Silence),
                Some(Reverse((at, ..))) if *at > until => {
                    inner.now = until;
                    return Some(End::Time);
                }
                Some(_) => {}
            }
            let Reverse((at, _, timer)) = inner.timers.pop().expect("it was just seen");
            inner.now = inner.now.max(at);
            let waker = inner.wakers.remove(&timer);
            inner.fired.insert(timer);
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }

    fn poll(&mut self, id: TaskId) {
        self.polls += 1;
        let Some(mut task) = self.tasks.remove(&id) else { return };
        let waker = Waker::from(Arc::new(Ready { handle: self.handle.clone(), task: id }));
        let mut cx = Context::from_waker(&waker);
        if task.future.as_mut().poll(&mut cx).is_pending() {
            self.tasks.insert(id, task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_jumps_from_timer_to_timer() {
        let mut executor = Executor::default();
        let handle = executor.handle();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for hours in [3u64, 1, 2] {
            let (handle2, seen) = (handle.clone(), seen.clone());
            handle.spawn(
                1,
                Box::pin(async move {
                    handle2.sleep(Duration::from_secs(hours * 3600)).await;
                    seen.lock().push(hours);
                }),
            );
        }
        assert_eq!(executor.run(Duration::from_secs(1_000_000), 1000, |_| 0), End::Silence);
        assert_eq!(*seen.lock(), [1, 2, 3]);
    }

    #[test]
    fn a_killed_process_does_nothing_more_and_a_frozen_one_does_it_late() {
        let mut executor = Executor::default();
        let handle = executor.handle();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for process in [1, 2] {
            let (handle2, seen) = (handle.clone(), seen.clone());
            handle.spawn(
                process,
                Box::pin(async move {
                    handle2.sleep(Duration::from_secs(1)).await;
                    seen.lock().push((process, handle2.now()));
                }),
            );
        }
        executor.run(Duration::from_millis(1), 100, |_| 0);
        executor.kill(1);
        executor.freeze(2);
        executor.run(Duration::from_secs(9), 100, |_| 0);
        assert!(seen.lock().is_empty());
        executor.thaw(2);
        executor.run(Duration::from_secs(10), 100, |_| 0);
        assert_eq!(*seen.lock(), [(2, Duration::from_secs(9))]);
    }
}
