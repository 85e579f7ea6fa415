//! One HTTP GET, bounded.

use std::time::Duration;

use anyhow::Result;

/// What tests ask on loopback answers in milliseconds; a ledger of many thousand purchases in a second.
const ANSWER: Duration = Duration::from_secs(10);

/// The body of a successful answer.
pub async fn get(url: &str) -> Result<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
    Ok(client.get(url).send().await?.error_for_status()?.text().await?)
}
