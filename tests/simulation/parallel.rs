//! Runs side by side: a run needs one thread, and nothing of another.

use std::sync::Mutex;

/// `work` on each of `all`, on as many threads as there are cores; in the order of `all`.
pub fn each<I: Send, T: Send>(all: impl IntoIterator<Item = I, IntoIter: Send>, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(all.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((place, one)) = { next.lock().expect("nobody panics under the lock").next() } {
                    let result = work(&one);
                    done.lock().expect("nobody panics under the lock").push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics under the lock");
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
