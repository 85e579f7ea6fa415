//! Waiting for a condition, never for a while: the one place where a test lets time pass.

use std::{fmt::Display, future::Future, time::Duration};

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep_until, timeout};

/// Short enough that no test waits noticeably longer than what it waits for, long enough to cost no CPU.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value. After `within` the error tells what was waited for and what the last look saw; a look that
/// hangs is cut off by the same bound.
pub async fn until<T, E, F, Fut>(what: &str, within: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Display,
{
    let end = Instant::now() + within;
    let mut last = "the first look did not end".to_owned();
    // At least one look, and one at the very end.
    while let Ok(seen) = timeout(end.saturating_duration_since(Instant::now()), look()).await {
        match seen {
            Ok(value) => return Ok(value),
            Err(not_yet) => last = format!("{not_yet:#}"),
        }
        if Instant::now() >= end {
            break;
        }
        sleep_until(end.min(Instant::now() + BETWEEN_LOOKS)).await;
    }
    Err(anyhow!("waited {within:?} in vain until {what}; last seen: {last}"))
}

/// [`until`] for a condition that is true or not.
pub async fn until_true<F: FnMut() -> bool>(what: &str, within: Duration, mut holds: F) -> Result<()> {
    until(what, within, || std::future::ready(if holds() { Ok(()) } else { Err("not so yet") })).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_ends_the_wait() {
        let mut looks = 0;
        let seen = until("the third look", Duration::from_secs(1), || {
            looks += 1;
            std::future::ready(if looks == 3 { Ok(looks) } else { Err("too early") })
        });
        assert_eq!(seen.await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_tells_what_was_waited_for_and_what_was_seen_last() {
        let never = until::<(), _, _, _>("pigs fly", Duration::from_secs(1), || std::future::ready(Err("they walk"))).await;
        assert_eq!(never.unwrap_err().to_string(), "waited 1s in vain until pigs fly; last seen: they walk");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_cut_off() {
        let hung = until::<(), String, _, _>("it answers", Duration::from_secs(1), std::future::pending).await;
        assert!(hung.unwrap_err().to_string().contains("the first look did not end"));
    }
}
