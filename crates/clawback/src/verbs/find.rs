//! A purchase by its id, or by the partner's own `request_id`.

use clawback_domain::{PartnerId, PurchaseId, RequestId, purchase::Purchase};
use clawback_store::{Filter, Store};

use crate::failure::Failure;

/// Several partners may use one `request_id`; more are not named.
const MOST: u32 = 10;

/// # Errors
/// No such purchase, or several.
pub async fn purchase(store: &dyn Store, id: &str, partner: Option<&PartnerId>) -> Result<Purchase, Failure> {
    if let Ok(id) = id.parse::<PurchaseId>()
        && let Some(purchase) = store.purchase(id).await?
    {
        return Ok(purchase);
    }
    let request = RequestId::new(id).map_err(|error| Failure::usage(format!("ID {error}")))?;
    let filter = Filter { request: Some(request), partner: partner.cloned(), limit: MOST, ..Filter::default() };
    let mut found = store.purchases(filter).await?;
    match found.len() {
        0 => Err(Failure::failed(format!("there is no purchase {id}"))),
        1 => Ok(found.remove(0)),
        _ => {
            let partners: Vec<_> = found.iter().map(|purchase| purchase.partner.as_str()).collect();
            Err(Failure::usage(format!("several partners have a request {id}: say --partner {}", partners.join("|"))))
        }
    }
}
