//! What partners ask for: mostly purchases that succeed, and one refusal of each kind.

use anyhow::Result;
use clawback_domain::{PartnerId, PurchaseId, RequestId};
use serde_json::{Value, json};

/// Few enough that a user buys the same pack several times: what a look finds must not be another purchase's.
const USERS: usize = 40;

/// Of so many orders one is refused for each reason below.
const ROUND: usize = 50;

/// One purchase, as its partner asks for it.
#[derive(Debug, Clone)]
pub struct Order {
    pub partner: String,
    pub id: PurchaseId,
    pub request: String,
    pub user: String,
    pub pack: &'static str,
    pub amount: u32,
    /// The upstream refuses it.
    pub doomed: bool,
}

impl Order {
    fn number(number: usize, partner: &str) -> Result<Self> {
        let (pack, amount, doomed) = match number % ROUND {
            7 => ("no-such-pack", 1, true),
            23 => ("rookie", 11, true),
            41 => ("vault", 1, true),
            other => (["rookie", "allstar"][other % 2], [1, 1, 2, 3][other % 4], false),
        };
        let request = format!("order-{number}");
        let id = PurchaseId::of(&PartnerId::new(partner)?, &RequestId::new(&request)?);
        Ok(Self { partner: partner.to_owned(), id, request, user: format!("user-{}", number % USERS), pack, amount, doomed })
    }

    /// The command's body.
    pub fn command(&self) -> Value {
        json!({"request_id": self.request, "user_id": self.user, "pack_id": self.pack, "amount": self.amount})
    }
}

/// So many orders, dealt out to the partners in turn.
pub fn orders(count: usize, partners: &[String]) -> Result<Vec<Order>> {
    (0..count).map(|number| Order::number(number, &partners[number % partners.len()])).collect()
}
