//! What the partners' servers hear, and what one of them does about it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clawback_broker::{Broker, topology};
use clawback_domain::{
    EventId, ItemId, Money, OrderId, PartnerId, PullId, RequestId, Time, UserId,
    event::{CloudEvent, EventType, ExpiredData, ExpiringData, PulledItem, SoldData},
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::{
    plant::{ASKS, partner_ids},
    workload::publish,
};
use crate::failure::Failure;

/// The last lead time of the built-in rules: who is warned now and waits cannot sell any more.
const LAST_CALL: &str = "1h";

/// One warning as it arrived.
pub struct Warned {
    pub at: Time,
    pub lead: String,
    pub late: bool,
    pub items: Vec<(PullId, ItemId)>,
}

pub struct Sold {
    pub automatically: bool,
    pub amount: Option<Money>,
}

/// The sale that the first partner's server asked for.
#[derive(Clone)]
pub struct Asked {
    pub sellback: OrderId,
    pub user: UserId,
    pub name: String,
    pub least: Money,
}

/// Each event once, however often it arrived.
#[derive(Default)]
pub struct Heard {
    pub ids: BTreeSet<EventId>,
    pub warnings: Vec<Warned>,
    pub sold: Vec<Sold>,
    /// Whose windows shut unsold.
    pub closed: Vec<PullId>,
    pub asked: Option<Asked>,
}

/// Listens to every partner's event queue, as a partner would.
pub struct Events {
    heard: Arc<Mutex<Heard>>,
    count: watch::Receiver<usize>,
}

impl Events {
    pub async fn listen(broker: &Arc<dyn Broker>) -> Result<Self, Failure> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (told, count) = watch::channel(0);
        for partner in partner_ids() {
            let mut consumer = broker.consume(&topology::event_queue(&partner), 64).await?;
            let (heard, told, broker) = (heard.clone(), told.clone(), broker.clone());
            tokio::spawn(async move {
                while let Some(delivery) = consumer.next().await {
                    let (count, sale) = {
                        let mut heard = heard.lock();
                        let sale = heard.take(&partner, &delivery.body);
                        (heard.ids.len(), sale)
                    };
                    if let Some((request, body)) = sale {
                        // The broker is in this process; were it closing, the demo would be over.
                        let _ = publish(&*broker, &partner, "sellback", &body, Some(&request)).await;
                    }
                    told.send_if_modified(|known| std::mem::replace(known, count) != count);
                    // A broker that is closing takes no more acks; the demo is over then.
                    let _ = delivery.ack().await;
                }
            });
        }
        Ok(Self { heard, count })
    }

    pub fn look<R>(&self, at: impl FnOnce(&Heard) -> R) -> R {
        at(&self.heard.lock())
    }

    /// How many different events arrived.
    pub fn count(&self) -> usize {
        self.heard.lock().ids.len()
    }

    /// Waits until so many arrived, or long enough.
    pub async fn wait_for(&self, wanted: usize, within: Duration) {
        let mut count = self.count.clone();
        let _ = tokio::time::timeout(within, count.wait_for(|count| *count >= wanted)).await;
    }
}

/// What every event has.
#[derive(Deserialize)]
struct Envelope {
    id: EventId,
    #[serde(rename = "type")]
    kind: EventType,
}

impl Heard {
    /// A command to sell back, if that is what follows.
    fn take(&mut self, partner: &PartnerId, body: &[u8]) -> Option<(RequestId, String)> {
        let Envelope { id, kind } = read(body);
        if !self.ids.insert(id) {
            return None;
        }
        match kind {
            EventType::BuybackExpiring => return self.warn(partner, read(body)),
            EventType::BuybackExpired => {
                let event: CloudEvent<'_, ExpiredData<'_>> = read(body);
                self.closed.extend(event.data.items.iter().map(|item| item.pull_id));
            }
            EventType::SellbackCompleted => {
                let event: CloudEvent<'_, SoldData<'_>> = read(body);
                self.sold.push(Sold { automatically: is_automatic(&event.data.request_id), amount: event.data.amount });
            }
            EventType::PurchaseFulfilled
            | EventType::PurchaseFailed
            | EventType::PurchaseReview
            | EventType::SellbackFailed
            | EventType::SellbackReview
            | EventType::CommandRejected => {}
        }
        None
    }

    fn warn(&mut self, partner: &PartnerId, event: CloudEvent<'_, ExpiringData<'_>>) -> Option<(RequestId, String)> {
        let data = event.data;
        self.warnings.push(Warned {
            at: event.time,
            lead: data.lead.to_string(),
            late: data.late,
            items: data.items.iter().map(|item| (item.pull_id, item.item_id.clone())).collect(),
        });
        if partner.as_str() != ASKS || data.lead != LAST_CALL || self.asked.is_some() {
            return None;
        }
        let priced = data.items.iter().filter_map(|item| Some((item.buyback_price?, item)));
        let (least, dearest) = priced.max_by_key(|(price, _)| price.millionths())?;
        let request = RequestId::new("last-call-1").expect("it is short");
        let body = json!({
            "request_id": request, "user_id": data.user_id, "pull_id": dearest.pull_id, "min_price": least,
        });
        let sellback = OrderId::of(partner, &request);
        self.asked = Some(Asked { sellback, user: data.user_id, name: name(dearest), least });
        Some((request, body.to_string()))
    }
}

fn name(item: &PulledItem<'_>) -> String {
    item.name.as_deref().unwrap_or(item.item_id.as_str()).to_owned()
}

/// Whether nobody asked for the sale.
pub fn is_automatic(request: &RequestId) -> bool {
    request.as_str().starts_with("auto:")
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    serde_json::from_slice(body).expect("our own events read back")
}
