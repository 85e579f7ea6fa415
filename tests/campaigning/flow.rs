//! The partners' side: commands that come while things break.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use clawback_tests::{
    Partner,
    rehearsal::{Asked, Order},
    wait::until,
};
use tokio::time::sleep;

use crate::site::Spoilt;

/// While a server restarts beside everything else.
const PUBLISHED: Duration = Duration::from_secs(90);
/// A batch comes in so many pieces, this far apart: some before the trouble, some in it, some after a short one.
const PIECES: usize = 6;
const BETWEEN_PIECES: Duration = Duration::from_millis(500);

/// What one cycle's partners ask for.
#[derive(Debug, Clone)]
pub struct Batch {
    pub orders: Arc<[Order]>,
    pub sales: Arc<[Asked]>,
    pub spoilt: Arc<[Spoilt]>,
}

impl Batch {
    /// Publishes everything, spread over a few seconds. Done when the broker has confirmed all.
    pub async fn flow(self, amqp: String) -> Result<()> {
        let piece = |count: usize| count.div_ceil(PIECES).max(1);
        let mut orders = self.orders.chunks(piece(self.orders.len()));
        let mut sales = self.sales.chunks(piece(self.sales.len()));
        let mut spoilt = self.spoilt.chunks(piece(self.spoilt.len()));
        for _ in 0..PIECES {
            let orders = orders.next().unwrap_or_default();
            let (sales, spoilt) = (sales.next().unwrap_or_default(), spoilt.next().unwrap_or_default());
            // What was not confirmed is published again: a command that comes twice is a case of its own.
            until("commands are published", PUBLISHED, || publish(&amqp, orders, sales, spoilt)).await?;
            sleep(BETWEEN_PIECES).await;
        }
        Ok(())
    }

    /// Publishes everything at once.
    pub async fn burst(self, amqp: String) -> Result<()> {
        until("commands are published", PUBLISHED, || publish(&amqp, &self.orders, &self.sales, &self.spoilt)).await
    }
}

async fn publish(amqp: &str, orders: &[Order], sales: &[Asked], spoilt: &[Spoilt]) -> Result<()> {
    let purchases = orders.iter().map(|order| (order.partner.as_str(), order.command().to_string()));
    let purchases = purchases.chain(spoilt.iter().map(|spoilt| (spoilt.partner.as_str(), spoilt.body())));
    let sales = sales.iter().flat_map(|sale| sale.commands().map(|command| (sale.partner.as_str(), command.to_string())));
    let keyed = purchases.map(|command| ("purchase", command)).chain(sales.map(|command| ("sellback", command)));
    for (key, (partner, body)) in keyed {
        let partner = Partner::connect(amqp, partner).await?;
        partner.publish(key, body.as_bytes()).await.with_context(|| body)?;
    }
    Ok(())
}
