//! Where the broker is and how to log in: the URL, asked for anew before each connection and taken apart at once, so that nobody
//! prints its password.

use std::fmt;

use lapin::{
    Connection, ConnectionProperties,
    auth::AuthProvider,
    types::{LongString, ShortString},
    uri::{AMQPUri, AMQPUserInfo},
};
use parking_lot::RwLock;

use super::{Options, UrlSource, convert, wire};
use crate::BrokerError;

pub(super) struct Endpoint {
    source: UrlSource,
    options: Options,
    /// The last that could be used.
    address: RwLock<Address>,
}

#[derive(Clone)]
struct Address {
    /// Without the credentials: the library logs it at its most verbose level.
    uri: AMQPUri,
    login: Login,
}

/// SASL PLAIN, or EXTERNAL where a URL asks for it.
#[derive(Clone)]
struct Login {
    mechanism: &'static str,
    response: Vec<u8>,
}

impl Endpoint {
    pub fn open(source: UrlSource, options: Options) -> Result<Self, BrokerError> {
        let address = source().and_then(|url| Address::parse(&url, &options)).map_err(BrokerError::Refused)?;
        Ok(Self { source, options, address: RwLock::new(address) })
    }

    /// A new connection, `role` being part of the name that RabbitMQ shows.
    pub async fn connect(&self, role: &str) -> Result<Connection, BrokerError> {
        let Address { uri, login } = self.current();
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{} {role}", self.options.name).into())
            .with_auth_provider(login);
        let within = self.options.connect_timeout;
        let socket = async move |uri, runtime| wire::connect(uri, within, runtime).await;
        let connecting = Connection::connector(uri, wire::runtime(), socket, properties);
        match tokio::time::timeout(within, connecting).await {
            Ok(connected) => connected.map_err(|error| convert::broker_error(&error)),
            Err(_) => Err(BrokerError::Unreachable(format!("no connection within {within:?}"))),
        }
    }

    fn current(&self) -> Address {
        match self.ask() {
            Ok(address) => *self.address.write() = address,
            Err(why) => tracing::warn!(endpoint = ?self, "the last good URL of the broker stays in use: {why}"),
        }
        self.address.read().clone()
    }

    /// Two connections are made of this, each at its own time: in two virtual hosts they would consume here and publish there.
    fn ask(&self) -> Result<Address, String> {
        let address = Address::parse(&(self.source)()?, &self.options)?;
        if address.uri.vhost != self.address.read().uri.vhost {
            return Err("the new one names another virtual host, which takes a restart".to_owned());
        }
        Ok(address)
    }
}

impl Address {
    fn parse(url: &str, options: &Options) -> Result<Self, String> {
        let unreadable = |_| "AMQP_URL is not of the form amqp://user:password@host:port/vhost".to_owned();
        let mut uri: AMQPUri = url.parse().map_err(unreadable)?;
        let AMQPUserInfo { username, password } =
            std::mem::replace(&mut uri.authority.userinfo, AMQPUserInfo { username: String::new(), password: String::new() });
        let login = match uri.query.auth_mechanism {
            Some(lapin::uri::SASLMechanism::External) => Login { mechanism: "EXTERNAL", response: Vec::new() },
            _ => Login { mechanism: "PLAIN", response: format!("\0{username}\0{password}").into_bytes() },
        };
        uri.query.heartbeat.get_or_insert(u16::try_from(options.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        Ok(Self { uri, login })
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
        let AMQPUri { scheme, authority, .. } = &self.address.read().uri;
        write!(f, "{scheme}://{}:{}", authority.host, authority.port)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn endpoint(url: &'static str) -> Result<Endpoint, BrokerError> {
        Endpoint::open(Arc::new(move || Ok(url.to_owned())), Options::default())
    }

    #[test]
    fn neither_the_endpoint_nor_its_errors_show_the_password() {
        let good = endpoint("amqp://acme:s3cret%21@broker:5673/v").unwrap();
        let Address { uri, login } = good.current();
        assert_eq!(login.response, b"\0acme\0s3cret!");
        assert_eq!(format!("{good:?}"), "amqp://broker:5673");
        assert!(!format!("{uri:?}").contains("s3cret"));
        for broken in ["amqp:s3cret", "http://acme:s3cret@broker", "acme:s3cret@broker", "amqp://acme:s3cret@broker:port"] {
            let error = endpoint(broken).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_heartbeat_is_ours_unless_the_url_names_one() {
        let heartbeat = |url| endpoint(url).unwrap().current().uri.query.heartbeat;
        assert_eq!(heartbeat("amqp://localhost"), Some(10));
        assert_eq!(heartbeat("amqp://localhost?heartbeat=3"), Some(3));
    }

    #[test]
    fn each_connection_takes_what_the_source_says_then_or_said_last() {
        let said = Arc::new(Mutex::new(Ok("amqp://acme:one@first/v".to_owned())));
        let source = said.clone();
        let endpoint = Endpoint::open(Arc::new(move || source.lock().clone()), Options::default()).unwrap();
        let check = |says: Result<&str, &str>, host: &str, response: &[u8]| {
            *said.lock() = says.map(str::to_owned).map_err(str::to_owned);
            let Address { uri, login } = endpoint.current();
            assert_eq!((uri.authority.host.as_str(), login.response.as_slice()), (host, response), "{says:?}");
        };
        check(Ok("amqp://acme:two@first/v"), "first", b"\0acme\0two");
        check(Err("its file cannot be read"), "first", b"\0acme\0two");
        check(Ok("rubbish"), "first", b"\0acme\0two");
        check(Ok("amqp://acme:three@first/elsewhere"), "first", b"\0acme\0two");
        check(Ok("amqp://beta:four@second/v"), "second", b"\0beta\0four");
    }
}
