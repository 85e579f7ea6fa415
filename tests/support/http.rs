//! One HTTP call, bounded.

use std::time::Duration;

use anyhow::Result;

/// What tests ask on loopback answers in milliseconds; a ledger of many thousand purchases in a second.
const ANSWER: Duration = Duration::from_secs(10);

/// The body of a successful answer.
pub async fn get(url: &str) -> Result<String> {
    Ok(client()?.get(url).send().await?.error_for_status()?.text().await?)
}

/// The same with an API key.
pub async fn get_as(key: &str, url: &str) -> Result<String> {
    Ok(client()?.get(url).header("x-api-key", key).send().await?.error_for_status()?.text().await?)
}

/// The same of a POST.
pub async fn post(url: &str, body: String) -> Result<String> {
    Ok(client()?.post(url).body(body).send().await?.error_for_status()?.text().await?)
}

fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(ANSWER).build()
}
