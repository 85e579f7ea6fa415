//! From a host's name to addresses that were checked, and that alone are connected to.
//!
//! The HTTP client asks here, and only here, when it opens a connection, and connects to what it is told. So there is no second look-up
//! between check and connection that could say something else. If one of several addresses is refused, all are: a name that leads both
//! out and in is either an attack or a mistake, and which address is tried would be chance.

use std::{error::Error, io, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

use crate::{
    Endpoint,
    address::{self, Reach},
};

/// Who tells the addresses of a host.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's: hosts file, DNS, and what else is configured there.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // The port is no part of the question, but of its form.
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Stands between the HTTP client and a resolver.
pub(crate) struct Checked {
    pub resolver: Arc<dyn Resolver>,
    pub reach: Reach,
    pub within: Duration,
}

/// A host that is not connected to, whatever else its name leads to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint's host leads to {address}, which is {why}")]
pub(crate) struct RefusedAddress {
    address: IpAddr,
    why: &'static str,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, reach, within) = (self.resolver.clone(), self.reach, self.within);
        Box::pin(async move {
            let found = timeout(within, resolver.resolve(name.as_str())).await;
            let addresses = found.map_err(|_| "the host's name was not resolved in time")??;
            checked(addresses, reach)
        })
    }
}

/// How many addresses an endpoint's host has, as a delivery would find them.
///
/// # Errors
/// A sentence: none, or one that is connected to for nobody.
pub async fn look_up(endpoint: &Endpoint) -> Result<usize, String> {
    let host = endpoint.url().host_str().unwrap_or_default().trim_matches(['[', ']']);
    let found = timeout(LOOK_UP, System.resolve(host)).await.map_err(|_| "the host's name was not resolved in time")?;
    let addresses = found.map_err(|error| format!("the host's name is not resolved: {error}"))?;
    checked(addresses, endpoint.reach()).map(Iterator::count).map_err(|error| error.to_string())
}

const LOOK_UP: Duration = Duration::from_secs(3);

fn checked(addresses: Vec<IpAddr>, reach: Reach) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    if addresses.is_empty() {
        return Err("the host's name has no address".into());
    }
    for &address in &addresses {
        if let Some(why) = address::refusal(address, reach) {
            return Err(RefusedAddress { address, why }.into());
        }
    }
    // Port 0 stands for the URL's.
    Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refused_address_refuses_the_host() {
        let check = |addresses: &[&str], reach, expected: Result<usize, &str>| {
            let found = checked(addresses.iter().map(|text| text.parse().unwrap()).collect(), reach);
            match (found.map(Iterator::count), expected) {
                (Ok(count), Ok(expected)) => assert_eq!(count, expected, "{addresses:?}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{addresses:?}: {error}"),
                other => panic!("{addresses:?}: {other:?}"),
            }
        };
        check(&["8.8.8.8", "2600::1"], Reach::Public, Ok(2));
        check(&["8.8.8.8", "10.0.0.1"], Reach::Public, Err("10.0.0.1, which is private"));
        check(&["127.0.0.1", "8.8.8.8"], Reach::Public, Err("127.0.0.1, which is loopback"));
        check(&["127.0.0.1", "::1"], Reach::Development, Ok(2));
        check(&["127.0.0.1", "10.0.0.1"], Reach::Development, Err("10.0.0.1, which is private"));
        check(&[], Reach::Public, Err("no address"));
    }
}
