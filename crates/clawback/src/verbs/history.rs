//! Going through events since a moment, when all that can be asked for is those after a position.

use clawback_domain::{PartnerId, Time};
use clawback_store::{Store, StoreError, StoredEvent};

/// Events take their positions as they are committed, and tell the time at which they were decided: two may stand the other way round
/// by as much as a commit may take. This is far more.
const SLACK: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

const PAGE: u32 = 250;

/// A position before which nothing happened at `since` or later.
pub async fn before(store: &dyn Store, partner: Option<&PartnerId>, since: Time) -> Result<i64, StoreError> {
    let since = since.checked_sub_signed(SLACK).unwrap_or(Time::MIN_UTC);
    let next = async |position| Ok::<_, StoreError>(store.events(partner, position, 1).await?.into_iter().next());
    let (mut low, mut high) = (0_i64, 1_i64);
    while let Some(stored) = next(high).await?
        && stored.event.time < since
    {
        (low, high) = (stored.position, stored.position.saturating_mul(2));
    }
    while low < high {
        let middle = low + (high - low) / 2;
        match next(middle).await? {
            Some(stored) if stored.event.time < since => low = stored.position,
            Some(_) | None => high = middle,
        }
    }
    Ok(high)
}

/// What happened since, page by page.
pub struct Pages<'a> {
    store: &'a dyn Store,
    partner: Option<&'a PartnerId>,
    since: Time,
    position: Option<i64>,
}

impl<'a> Pages<'a> {
    pub async fn new(store: &'a dyn Store, partner: Option<&'a PartnerId>, since: Time) -> Result<Self, StoreError> {
        Ok(Self { store, partner, since, position: Some(before(store, partner, since).await?) })
    }

    /// `None` at the end; a page may be empty before.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, StoreError> {
        let Some(position) = self.position else { return Ok(None) };
        let mut page = self.store.events(self.partner, position, PAGE).await?;
        self.position = page.last().map(|stored| stored.position);
        page.retain(|stored| stored.event.time >= self.since);
        Ok(self.position.map(|_| page))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clawback_domain::{DeadLetterId, EventId, event::EventType};
    use clawback_store::{DeadLetter, DeadLetterState, memory::Memory};

    use super::*;
    use crate::clock::SystemClock;

    fn at(minutes: i64) -> Time {
        Time::UNIX_EPOCH + chrono::TimeDelta::minutes(minutes)
    }

    async fn tell(store: &Memory, partner: &str, minute: i64) {
        let partner = PartnerId::new(partner).unwrap();
        let id = DeadLetterId::of("queue", format!("{partner} {minute}").as_bytes());
        let event = clawback_domain::event::Event {
            id: EventId::of(id.0, 1),
            kind: EventType::CommandRejected,
            partner: partner.clone(),
            subject: id.0,
            sequence: 1,
            request_id: None,
            time: at(minute),
            trace: None,
            body: "{}".into(),
        };
        let letter = DeadLetter {
            id,
            partner,
            queue: "queue".into(),
            exchange: String::new(),
            routing_key: String::new(),
            reason: String::new(),
            problems: "[]".into(),
            body: Vec::new(),
            content_type: None,
            message_id: None,
            headers: Default::default(),
            received_at: at(minute),
            state: DeadLetterState::Kept,
            settled_by: None,
        };
        store.bury(letter, event).await.unwrap();
    }

    /// Committed a little out of order, as they are.
    #[tokio::test]
    async fn nothing_that_happened_since_is_left_out() {
        let store = Memory::new(Arc::new(SystemClock::default()));
        for n in 0..300_i64 {
            tell(&store, if n % 3 == 0 { "acme" } else { "beta" }, n ^ 3).await;
        }
        for since in [-5, 0, 1, 57, 150, 298, 299, 300, 1000] {
            for partner in [None, Some(PartnerId::new("acme").unwrap())] {
                let mut pages = Pages::new(&store, partner.as_ref(), at(since)).await.unwrap();
                let mut found = 0;
                while let Some(page) = pages.next().await.unwrap() {
                    found += page.len();
                }
                let all = store.events(partner.as_ref(), 0, 1000).await.unwrap();
                assert_eq!(found, all.iter().filter(|stored| stored.event.time >= at(since)).count(), "{since} {partner:?}");
            }
        }
    }
}
