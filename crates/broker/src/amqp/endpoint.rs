//! Where the broker is and how to log in: the URL, taken apart once so that nobody prints its password.

use std::{fmt, time::Duration};

use lapin::{
    Connection, ConnectionProperties,
    auth::AuthProvider,
    types::{LongString, ShortString},
    uri::{AMQPUri, AMQPUserInfo},
};

use super::{Options, convert, wire};
use crate::BrokerError;

pub(super) struct Endpoint {
    /// Without the credentials: the library logs it at its most verbose level.
    uri: AMQPUri,
    login: Login,
    name: String,
    connect_timeout: Duration,
}

/// SASL PLAIN, or EXTERNAL where a URL asks for it.
#[derive(Clone)]
struct Login {
    mechanism: &'static str,
    response: Vec<u8>,
}

impl Endpoint {
    pub fn parse(url: &str, options: &Options) -> Result<Self, BrokerError> {
        let unreadable = || BrokerError::Refused("AMQP_URL is not of the form amqp://user:password@host:port/vhost".to_owned());
        let mut uri: AMQPUri = url.parse().map_err(|_| unreadable())?;
        let AMQPUserInfo { username, password } =
            std::mem::replace(&mut uri.authority.userinfo, AMQPUserInfo { username: String::new(), password: String::new() });
        let login = match uri.query.auth_mechanism {
            Some(lapin::uri::SASLMechanism::External) => Login { mechanism: "EXTERNAL", response: Vec::new() },
            _ => Login { mechanism: "PLAIN", response: format!("\0{username}\0{password}").into_bytes() },
        };
        uri.query.heartbeat.get_or_insert(u16::try_from(options.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        Ok(Self { uri, login, name: options.name.clone(), connect_timeout: options.connect_timeout })
    }

    /// A new connection, `role` being part of the name that RabbitMQ shows.
    pub async fn connect(&self, role: &str) -> Result<Connection, BrokerError> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{} {role}", self.name).into())
            .with_auth_provider(self.login.clone());
        let within = self.connect_timeout;
        let socket = async move |uri, runtime| wire::connect(uri, within, runtime).await;
        let connecting = Connection::connector(self.uri.clone(), wire::runtime(), socket, properties);
        match tokio::time::timeout(within, connecting).await {
            Ok(connected) => connected.map_err(|error| convert::broker_error(&error)),
            Err(_) => Err(BrokerError::Unreachable(format!("no connection within {within:?}"))),
        }
    }
}

impl AuthProvider for Login {
    fn mechanism(&self) -> ShortString {
        self.mechanism.into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok(self.response.clone().into())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.uri.scheme, self.uri.authority.host, self.uri.authority.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_endpoint_nor_its_errors_show_the_password() {
        let options = Options::default();
        let endpoint = Endpoint::parse("amqp://acme:s3cret%21@broker:5673/v", &options).unwrap();
        assert_eq!(endpoint.login.response, b"\0acme\0s3cret!");
        assert_eq!(format!("{endpoint:?}"), "amqp://broker:5673");
        assert!(!format!("{:?}", endpoint.uri).contains("s3cret"));
        for broken in ["amqp:s3cret", "http://acme:s3cret@broker", "acme:s3cret@broker", "amqp://acme:s3cret@broker:port"] {
            let error = Endpoint::parse(broken, &options).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_heartbeat_is_ours_unless_the_url_names_one() {
        let heartbeat = |url| Endpoint::parse(url, &Options::default()).unwrap().uri.query.heartbeat;
        assert_eq!(heartbeat("amqp://localhost"), Some(10));
        assert_eq!(heartbeat("amqp://localhost?heartbeat=3"), Some(3));
    }
}
