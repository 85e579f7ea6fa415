//! An order by its id, or by the partner's own `request_id`.

use clawback_domain::{OrderId, PartnerId, RequestId, order::AnyOrder};
use clawback_store::{Filter, Store};

use crate::failure::Failure;

/// Several partners may use one `request_id`; more are not named.
const MOST: u32 = 10;

/// # Errors
/// No such purchase or sellback, or several.
pub async fn order(store: &dyn Store, id: &str, partner: Option<&PartnerId>) -> Result<AnyOrder, Failure> {
    if let Ok(id) = id.parse::<OrderId>()
        && let Some(order) = store.order(id).await?
    {
        return Ok(order);
    }
    let request = RequestId::new(id).map_err(|error| Failure::usage(format!("ID {error}")))?;
    let filter = Filter { request: Some(request), partner: partner.cloned(), limit: MOST, ..Filter::default() };
    let mut found = store.orders(filter).await?;
    match found.len() {
        0 => Err(Failure::failed(format!("there is no purchase or sellback {id}"))),
        1 => Ok(found.remove(0)),
        _ => {
            let partners: Vec<_> = found.iter().map(|order| order.partner().as_str()).collect();
            Err(Failure::usage(format!("several partners have a request {id}: say --partner {}", partners.join("|"))))
        }
    }
}
