//! What may go wrong at the upstream or on the way, on demand: `[ENDPOINT:]KIND=RATE`.
//!
//! *before* and *after* are relative to the effect, and that is what nobody on the other side can see: the two look alike on the
//! wire and differ only in the ledger.

use std::{fmt, str::FromStr};

/// A call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    Init,
    Status,
    Buyback,
    Inventory,
    Packs,
}

impl Endpoint {
    pub const ALL: [Endpoint; 5] = [Endpoint::Init, Endpoint::Status, Endpoint::Buyback, Endpoint::Inventory, Endpoint::Packs];

    pub const fn as_str(self) -> &'static str {
        match self {
            Endpoint::Init => "init",
            Endpoint::Status => "status",
            Endpoint::Buyback => "buyback",
            Endpoint::Inventory => "inventory",
            Endpoint::Packs => "packs",
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The connection is reset; nothing happened.
    ResetBefore,
    /// The connection is reset; it happened.
    ResetAfter,
    /// No answer ever comes; nothing happened.
    TimeoutBefore,
    /// No answer ever comes; it happened.
    TimeoutAfter,
    /// The endpoint's documented 500; nothing happened.
    ErrorBefore,
    /// The endpoint's documented 500; it happened.
    ErrorAfter,
    /// It happened, and the body of the 200 breaks off. A refusal is not cut.
    CutBody,
    /// 200 with a page of HTML. In every second case, drawn, it happened.
    Rubbish,
    /// 307 to the same address (who follows calls twice). In every second case, drawn, it happened.
    Redirect,
    /// 429, with `Retry-After` in every second case; nothing happened.
    RateLimited,
    /// 401 though the key is good; nothing happened.
    Unauthorized,
    /// 400 `Claw machine is out of stock` of a pack that is in stock.
    OutOfStock,
    /// 400 `Transaction failed`. At `status` the purchase is really cancelled: its items vanish, the ledger forgets it. At
    /// `buyback` nothing happened. At `init`, where no page has it, nothing happened: an unrecognised 400.
    TransactionFailed,
    /// The inventory is shown as it was up to [`INVENTORY_LAG`](crate::engine::INVENTORY_LAG) ago.
    InventoryLag,
    /// Just before the call an item leaves the user's hands by another way. The ledger does not know of it.
    SoldElsewhere,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::ResetBefore,
        Kind::ResetAfter,
        Kind::TimeoutBefore,
        Kind::TimeoutAfter,
        Kind::ErrorBefore,
        Kind::ErrorAfter,
        Kind::CutBody,
        Kind::Rubbish,
        Kind::Redirect,
        Kind::RateLimited,
        Kind::Unauthorized,
        Kind::OutOfStock,
        Kind::TransactionFailed,
        Kind::InventoryLag,
        Kind::SoldElsewhere,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::ResetBefore => "reset-before",
            Kind::ResetAfter => "reset-after",
            Kind::TimeoutBefore => "timeout-before",
            Kind::TimeoutAfter => "timeout-after",
            Kind::ErrorBefore => "error-before",
            Kind::ErrorAfter => "error-after",
            Kind::CutBody => "cut-body",
            Kind::Rubbish => "rubbish",
            Kind::Redirect => "redirect",
            Kind::RateLimited => "rate-limited",
            Kind::Unauthorized => "unauthorized",
            Kind::OutOfStock => "out-of-stock",
            Kind::TransactionFailed => "transaction-failed",
            Kind::InventoryLag => "inventory-lag",
            Kind::SoldElsewhere => "sold-elsewhere",
        }
    }

    /// The endpoints that a fault without an endpoint means: all where the kind can be told, or is documented.
    pub const fn usual(self) -> &'static [Endpoint] {
        match self {
            Kind::ResetBefore
            | Kind::ResetAfter
            | Kind::TimeoutBefore
            | Kind::TimeoutAfter
            | Kind::ErrorBefore
            | Kind::ErrorAfter
            | Kind::CutBody
            | Kind::Rubbish
            | Kind::Redirect
            | Kind::RateLimited
            | Kind::Unauthorized => &Endpoint::ALL,
            Kind::OutOfStock => &[Endpoint::Init],
            Kind::TransactionFailed => &[Endpoint::Status, Endpoint::Buyback],
            Kind::InventoryLag => &[Endpoint::Inventory],
            Kind::SoldElsewhere => &[Endpoint::Buyback, Endpoint::Inventory],
        }
    }

    fn possible_at(self, endpoint: Endpoint) -> bool {
        self.usual().contains(&endpoint) || (self == Kind::TransactionFailed && endpoint == Endpoint::Init)
    }
}

/// One fault: where, what, and in which share of the calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    endpoint: Option<Endpoint>,
    kind: Kind,
    rate: f64,
}

impl Fault {
    /// `endpoint` `None`: wherever the kind usually happens ([`Kind::usual`]). `rate` from 0 (never) to 1 (at each call).
    ///
    /// # Errors
    /// A rate outside 0–1, or a kind that cannot happen at that endpoint.
    pub fn new(endpoint: Option<Endpoint>, kind: Kind, rate: f64) -> Result<Self, InvalidFault> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(InvalidFault(format!("the rate of {kind} must be from 0 to 1, not {rate}")));
        }
        match endpoint {
            Some(at) if !kind.possible_at(at) => Err(InvalidFault(format!("{kind} cannot happen at {at}"))),
            _ => Ok(Self { endpoint, kind, rate }),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn rate(&self) -> f64 {
        self.rate
    }

    pub fn concerns(&self, endpoint: Endpoint) -> bool {
        self.endpoint.map_or(self.kind.usual().contains(&endpoint), |at| at == endpoint)
    }
}

/// A sentence that can stand behind the flag's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFault(String);

/// `[ENDPOINT:]KIND=RATE`, for example `reset-after=0.05` or `init:timeout-before=0.01`.
impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (what, rate) =
            text.split_once('=').ok_or_else(|| InvalidFault(format!("{text:?} is no fault: [ENDPOINT:]KIND=RATE")))?;
        let (endpoint, kind) = match what.split_once(':') {
            Some((endpoint, kind)) => (Some(named(&Endpoint::ALL, "endpoint", endpoint)?), kind),
            None => (None, what),
        };
        let rate = rate.parse().map_err(|_| InvalidFault(format!("{rate:?} is no rate: a number from 0 to 1")))?;
        Self::new(endpoint, named(&Kind::ALL, "kind of fault", kind)?, rate)
    }
}

fn named<T: Copy + fmt::Display>(all: &[T], what: &str, text: &str) -> Result<T, InvalidFault> {
    all.iter().copied().find(|one| one.to_string() == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(T::to_string).collect();
        InvalidFault(format!("{text:?} is no {what}: {}", names.join(", ")))
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads back as the same fault.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.endpoint {
            Some(endpoint) => write!(f, "{endpoint}:{}={}", self.kind, self.rate),
            None => write!(f, "{}={}", self.kind, self.rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_as_it_is_written() {
        for kind in Kind::ALL {
            for endpoint in kind.usual() {
                let fault = Fault::new(Some(*endpoint), kind, 0.25).unwrap();
                assert_eq!(fault.to_string().parse(), Ok(fault));
                assert!(Fault::new(None, kind, 1.0).unwrap().concerns(*endpoint), "{kind} at {endpoint}");
            }
        }
    }

    #[test]
    fn what_is_no_fault_says_why() {
        for (text, why) in [
            ("reset-before", "\"reset-before\" is no fault: [ENDPOINT:]KIND=RATE"),
            ("reset-before=often", "\"often\" is no rate: a number from 0 to 1"),
            ("reset-before=1.1", "the rate of reset-before must be from 0 to 1, not 1.1"),
            ("reset-before=NaN", "the rate of reset-before must be from 0 to 1, not NaN"),
            ("packs:out-of-stock=1", "out-of-stock cannot happen at packs"),
            ("ini:rubbish=1", "\"ini\" is no endpoint: init, status, buyback, inventory, packs"),
        ] {
            assert_eq!(text.parse::<Fault>().unwrap_err().to_string(), why);
        }
        assert!(
            "reset=1".parse::<Fault>().unwrap_err().to_string().starts_with("\"reset\" is no kind of fault: reset-before, ")
        );
    }

    #[test]
    fn a_fault_of_one_endpoint_leaves_the_others_alone() {
        let fault: Fault = "init:transaction-failed=0.5".parse().unwrap();
        assert!(fault.concerns(Endpoint::Init) && !fault.concerns(Endpoint::Status));
        let everywhere: Fault = "transaction-failed=0.5".parse().unwrap();
        assert!(!everywhere.concerns(Endpoint::Init) && everywhere.concerns(Endpoint::Status));
    }
}
