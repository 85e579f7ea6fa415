//! How the stand-in behaves: which of the two documented environments it is, and how slow, how wrong and how lucky.

use std::{str::FromStr, time::Duration};

use crate::{
    catalogue::{self, PackSpec},
    fault::Fault,
};

/// The key that works when none is given.
pub const DEMO_KEY: &str = "sandbox-demo";

/// The two environments of the upstream's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Fulfils inside `buy/init`, never says pending, hands one item out many times, freezes prices.
    #[default]
    Sandbox,
    /// Fulfils later, holds polls and says pending, draws each item once, prices move, an expiry may be null.
    Production,
}

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        match text {
            "sandbox" => Ok(Mode::Sandbox),
            "production" => Ok(Mode::Production),
            other => Err(InvalidMode(other.to_owned())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: sandbox or production")]
pub struct InvalidMode(String);

/// Between which spans after its purchase the window of an item shuts. `None`: after the documented days.
pub type Windows = Option<(Duration, Duration)>;

/// What an [`Engine`](crate::Engine) is made of. `Options::default()` is the documented sandbox with made-up packs.
#[derive(Debug, Clone)]
pub struct Options {
    pub mode: Mode,
    /// Production: how long after `buy/init` a purchase is fulfilled, and shows up in the inventory.
    pub settle: Duration,
    /// Production: how long `buy/status` holds a call before it says pending.
    pub poll_window: Duration,
    /// Production: how often `buy/status` says pending at least, however long ago the purchase settled.
    pub pending_polls: u32,
    /// Whether the answer of `buy/init` lists the items. The page says so; an upstream that fulfils later may answer with none.
    pub nfts_at_init: bool,
    /// Of items that have one.
    pub windows: Windows,
    pub seed: u64,
    /// Each key is a partner of its own, with users, sessions and items of its own.
    pub api_keys: Vec<String>,
    pub packs: Vec<PackSpec>,
    /// Asked in this order at each call; the first that hits is what goes wrong.
    pub faults: Vec<Fault>,
    /// The share of in-process calls that find no connection at all, from 0 to 1: proven never sent. Not for HTTP.
    pub unreachable: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Sandbox,
            settle: Duration::from_secs(5),
            poll_window: Duration::ZERO,
            pending_polls: 0,
            nfts_at_init: true,
            windows: None,
            seed: 0,
            api_keys: vec![DEMO_KEY.to_owned()],
            packs: catalogue::made_up(),
            faults: Vec::new(),
            unreachable: 0.0,
        }
    }
}

impl Options {
    /// The production mode with everything else as it is by default.
    pub fn production() -> Self {
        Self { mode: Mode::Production, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_one_of_two_words() {
        assert_eq!("sandbox".parse(), Ok(Mode::Sandbox));
        assert_eq!("production".parse(), Ok(Mode::Production));
        assert_eq!("Prod".parse::<Mode>().unwrap_err().to_string(), "\"Prod\" is no mode: sandbox or production");
    }
}
