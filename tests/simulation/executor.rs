//! One thread, virtual time, a drawn schedule.
//!
//! Tasks belong to processes. Which of the ready tasks is polled next is drawn; when none is ready, time jumps to the next timer; when
//! there is no timer either, nothing will ever happen again, and that is said. A process can be killed (its tasks are dropped, at
//! whatever await they stand, or in the middle of a poll by [`Killed`]) or frozen (its tasks wait; their timers fire into the void
//! until it thaws). It knows no word about purchases.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use clawback_domain::{clock::BoxFuture, rehearsal::Killed};
use parking_lot::Mutex;

use crate::timers::Timers;

/// Process 0 is the world; it is never killed.
pub type Process = u32;
pub const WORLD: Process = 0;

type TaskId = usize;

struct Task {
    process: Process,
    /// `None` while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    next_task: TaskId,
    spawned: Vec<(TaskId, Process, BoxFuture<'static, ()>)>,
    woken: Vec<TaskId>,
    timers: Timers,
}

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
        inner.spawned.push((id, process, future));
    }

    pub fn sleep(&self, span: Duration) -> Sleep {
        let mut inner = self.0.lock();
        let at = inner.now + span;
        let place = inner.timers.set(at);
        Sleep { handle: self.clone(), place }
    }
}

/// Completes at its virtual time.
pub struct Sleep {
    handle: Handle,
    place: usize,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.handle.0.lock();
        match inner.timers.poll(self.place, cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.handle.0.lock().timers.forget(self.place);
    }
}

struct Ready {
    handle: Handle,
    task: TaskId,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.handle.0.lock().woken.push(self.task);
    }
}

/// Why a run paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Virtual time reached the bound.
    Time,
    /// So many polls were made.
    Polls,
    /// A process died in the middle of a poll; its tasks are gone.
    Died(Process),
    /// No task is ready and no timer is set: nothing will ever happen again.
    Silence,
}

#[derive(Default)]
pub struct Executor {
    handle: Handle,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks to be polled, in no order: the next one is drawn.
    ready: Vec<TaskId>,
    queued: BTreeSet<TaskId>,
    /// Of frozen processes: what will be ready once they thaw.
    frozen: BTreeMap<Process, Vec<TaskId>>,
    pub polls: u64,
    /// A hash of what was polled when.
    pub schedule: u64,
    /// Tasks that ended in a panic.
    pub panics: Vec<String>,
}

impl Drop for Executor {
    /// What is spawned and not yet taken over holds the world, and the world holds this handle.
    fn drop(&mut self) {
        self.tasks.clear();
        let spawned = std::mem::take(&mut self.handle.0.lock().spawned);
        drop(spawned);
    }
}

impl Executor {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Drops every task of the process where it stands.
    pub fn kill(&mut self, process: Process) {
        self.adopt();
        self.frozen.remove(&process);
        let dead: Vec<_> = self.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
        for id in dead {
            // The lock is not held here: dropping a future may wake others, or drop timers.
            drop(self.tasks.remove(&id));
        }
    }

    pub fn freeze(&mut self, process: Process) {
        self.frozen.entry(process).or_default();
    }

    pub fn thaw(&mut self, process: Process) {
        for id in self.frozen.remove(&process).unwrap_or_default() {
            self.ready.push(id);
        }
    }

    #[cfg(test)]
    fn has_tasks(&mut self, process: Process) -> bool {
        self.adopt();
        self.tasks.values().any(|task| task.process == process)
    }

    /// Runs until virtual time `until`, at most `polls` polls. `choose(n)` draws which of `n` ready tasks is next.
    pub fn run(&mut self, until: Duration, polls: u64, mut choose: impl FnMut(usize) -> usize) -> End {
        for _ in 0..polls {
            let id = loop {
                self.adopt();
                if let Some(id) = self.next_ready(&mut choose) {
                    break id;
                }
                if let Some(end) = self.next_timer(until) {
                    return end;
                }
            };
            if let Some(process) = self.poll(id) {
                self.kill(process);
                return End::Died(process);
            }
        }
        End::Polls
    }

    /// Takes over what was spawned and woken since.
    fn adopt(&mut self) {
        let (spawned, mut woken) = {
            let mut inner = self.handle.0.lock();
            if inner.spawned.is_empty() && inner.woken.is_empty() {
                return;
            }
            (std::mem::take(&mut inner.spawned), std::mem::take(&mut inner.woken))
        };
        for (id, process, future) in spawned {
            let waker = Waker::from(Arc::new(Ready { handle: self.handle.clone(), task: id }));
            self.tasks.insert(id, Task { process, future: Some(future), waker });
            self.queue(id);
        }
        // In an order of ours: tokio's `watch` wakes its waiters in one of its own chance.
        woken.sort_unstable();
        woken.into_iter().for_each(|id| self.queue(id));
    }

    fn queue(&mut self, id: TaskId) {
        if self.tasks.contains_key(&id) && self.queued.insert(id) {
            self.ready.push(id);
        }
    }

    fn next_ready(&mut self, choose: &mut impl FnMut(usize) -> usize) -> Option<TaskId> {
        while !self.ready.is_empty() {
            let id = self.ready.swap_remove(choose(self.ready.len()));
            match self.tasks.get(&id) {
                None => drop(self.queued.remove(&id)),
                Some(task) => match self.frozen.get_mut(&task.process) {
                    Some(waiting) => waiting.push(id),
                    None => {
                        self.queued.remove(&id);
                        return Some(id);
                    }
                },
            }
        }
        None
    }

    /// Lets time pass to the next timer. `Some` when there is none before `until`.
    fn next_timer(&mut self, until: Duration) -> Option<End> {
        let waker = {
            let mut inner = self.handle.0.lock();
            match inner.timers.next() {
                // What is frozen will go on once it thaws.
                None if self.frozen.is_empty() => return Some(End::Silence),
                Some(at) if at <= until => {
                    inner.now = inner.now.max(at);
                    inner.timers.fire()
                }
                None | Some(_) => {
                    inner.now = inner.now.max(until);
                    return Some(End::Time);
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }

    /// The process that died of it.
    fn poll(&mut self, id: TaskId) -> Option<Process> {
        let task = self.tasks.get_mut(&id)?;
        let (process, waker, mut future) = (task.process, task.waker.clone(), task.future.take()?);
        self.polls += 1;
        let now = self.handle.now().as_micros() as u64;
        self.schedule = mixed(self.schedule, now ^ (id as u64).rotate_left(40));
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        match polled {
            Ok(Poll::Pending) => {
                self.tasks.get_mut(&id)?.future = Some(future);
                None
            }
            Ok(Poll::Ready(())) => {
                self.tasks.remove(&id);
                None
            }
            Err(panic) if panic.is::<Killed>() => Some(process),
            Err(panic) => {
                self.tasks.remove(&id);
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                self.panics.push(text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "no message".into()));
                None
            }
        }
    }
}

/// One more value in a running hash.
pub fn mixed(hash: u64, value: u64) -> u64 {
    let mut z = (hash.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z ^= z >> 29;
    z.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (z >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(handle: &Handle, seen: &Arc<Mutex<Vec<(Process, Duration)>>>, process: Process, after: Duration) {
        let (handle2, seen) = (handle.clone(), seen.clone());
        handle.spawn(
            process,
            Box::pin(async move {
                handle2.sleep(after).await;
                seen.lock().push((process, handle2.now()));
            }),
        );
    }

    #[test]
    fn time_jumps_from_timer_to_timer() {
        let mut executor = Executor::default();
        let (handle, seen) = (executor.handle(), Arc::default());
        for hours in [3u32, 1, 2] {
            note(&handle, &seen, hours, Duration::from_secs(3600) * hours);
        }
        assert_eq!(executor.run(Duration::from_secs(1_000_000), 1000, |_| 0), End::Silence);
        assert_eq!(seen.lock().iter().map(|(hours, _)| *hours).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_killed_process_does_nothing_more_and_a_frozen_one_does_it_late() {
        let mut executor = Executor::default();
        let (handle, seen) = (executor.handle(), Arc::default());
        for process in [1, 2] {
            note(&handle, &seen, process, Duration::from_secs(1));
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

    #[test]
    fn who_dies_in_a_poll_takes_its_whole_process_along_and_nobody_else() {
        let mut executor = Executor::default();
        let (handle, seen) = (executor.handle(), Arc::default());
        note(&handle, &seen, 1, Duration::from_secs(2));
        note(&handle, &seen, 2, Duration::from_secs(2));
        let handle2 = handle.clone();
        handle.spawn(
            1,
            Box::pin(async move {
                handle2.sleep(Duration::from_secs(1)).await;
                std::panic::resume_unwind(Box::new(Killed));
            }),
        );
        assert_eq!(executor.run(Duration::from_secs(9), 100, |_| 0), End::Died(1));
        assert!(!executor.has_tasks(1));
        executor.run(Duration::from_secs(9), 100, |_| 0);
        assert_eq!(*seen.lock(), [(2, Duration::from_secs(2))]);
    }

    #[test]
    fn a_dropped_timer_holds_nothing_up() {
        let mut executor = Executor::default();
        let (handle, seen) = (executor.handle(), Arc::default());
        drop(handle.sleep(Duration::from_secs(5)));
        note(&handle, &seen, 1, Duration::from_secs(7));
        assert_eq!(executor.run(Duration::from_secs(60), 100, |_| 0), End::Silence);
        assert_eq!(*seen.lock(), [(1, Duration::from_secs(7))]);
    }
}
