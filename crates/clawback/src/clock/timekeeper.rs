//! The clock that a process goes by, and what keeps it right.

use std::sync::Arc;

use clawback_domain::{
    Clock,
    purchase::{MARGIN, SEND_WINDOW},
};
use clawback_store::Store;
use tokio_util::sync::CancellationToken;

use super::{SystemClock, UpstreamClock, upstream::round};
use crate::{
    config::{ClockSource, Partner, Setup, show_duration},
    failure::Failure,
};

#[derive(Clone)]
pub struct Timekeeper {
    /// Measured in any case: that tells whether the store answers.
    system: Arc<SystemClock>,
    followed: Option<Arc<UpstreamClock>>,
}

impl Timekeeper {
    /// Reads the clocks once, so that no moment is told by one that was never read.
    ///
    /// # Errors
    /// The store does not answer, or the sandbox whose clock is to be followed.
    pub async fn start(setup: &Setup, store: &dyn Store) -> Result<Self, Failure> {
        let time = Self::without_store(setup).await?;
        time.system.measure(store).await?;
        Ok(time)
    }

    /// For who opens no store: the system's clock is taken as it is.
    ///
    /// # Errors
    /// The sandbox whose clock is to be followed does not answer.
    pub async fn without_store(setup: &Setup) -> Result<Self, Failure> {
        let followed = match setup.clock {
            ClockSource::System => None,
            ClockSource::Upstream => Some(follow(setup).await?),
        };
        Ok(Self { system: Arc::default(), followed })
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        match &self.followed {
            Some(followed) => followed.clone(),
            None => self.system.clone(),
        }
    }

    /// The store's clock matters only where ours is to agree with it.
    ///
    /// # Errors
    /// Why this process is not ready, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        match &self.followed {
            Some(followed) => self.system.store_answers().and_then(|()| followed.check()),
            None => self.system.check(),
        }
    }

    /// Whose time it is, for people.
    pub fn describe(&self) -> String {
        match &self.followed {
            Some(followed) => format!("the sandbox's, {} ahead of this machine's", show_duration(round(followed.ahead()))),
            None => "agrees with the store's".into(),
        }
    }

    /// Reads the clocks again and again until `shutdown`.
    pub fn keep(&self, store: Arc<dyn Store>, shutdown: &CancellationToken) {
        tokio::spawn(self.system.clone().follow(store, shutdown.clone()));
        if let Some(followed) = &self.followed {
            tokio::spawn(followed.clone().follow(shutdown.clone()));
        }
    }
}

async fn follow(setup: &Setup) -> Result<Arc<UpstreamClock>, Failure> {
    let refuse =
        |why| Failure::failed(format!("CLAWBACK_CLOCK=upstream: {why}; start the sandbox, or leave CLAWBACK_CLOCK out"));
    let longest = |partner: &Partner| {
        let timeouts = &partner.settings.timeouts;
        SEND_WINDOW + timeouts.connect + timeouts.init.max(timeouts.buyback) + MARGIN
    };
    let longest = setup.partners.iter().map(longest).max().unwrap_or_default();
    let clock = UpstreamClock::new(&setup.upstream, longest).map_err(refuse)?;
    clock.read().await.map_err(refuse)?;
    Ok(Arc::new(clock))
}
