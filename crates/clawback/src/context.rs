//! What every verb is given: how to find its configuration, its store, and its voice.

use std::{path::Path, sync::Arc, time::Duration};

use clawback_broker::{Amqp, Broker, Topology, amqp, topology::PartnerTopology};
use clawback_domain::{Clock, PartnerId};
use clawback_store::{
    Store,
    sql::{self, Sql},
};

use crate::{
    clock::Timekeeper,
    config::{Needs, Partner, ServerUrl, Setup, SetupFlags},
    failure::Failure,
    output::Output,
};

pub struct Context {
    pub flags: SetupFlags,
    pub out: Output,
}

/// An environment variable; empty counts as not set.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Context {
    /// # Errors
    /// Everything that is wrong with file and environment, as usage.
    pub fn setup(&self, needs: Needs) -> Result<Setup, Failure> {
        Ok(Setup::load(&self.flags, &env, needs)?)
    }

    /// The store of a verb: it must be there already, and of this version.
    ///
    /// # Errors
    /// No store, one that cannot be reached, or one that wants migrating.
    pub async fn store(&self, setup: &Setup) -> Result<Arc<dyn Store>, Failure> {
        if !self.has_store(setup) {
            let path = setup.sqlite_file();
            return Err(Failure::failed(format!(
                "there is no store at {}: start `clawback up`, or name another with CLAWBACK_DATA_DIR or DATABASE_URL",
                path.display()
            )));
        }
        let store = open_store(setup, Missing::Refuse).await?;
        refuse_unmigrated(&*store).await?;
        Ok(store)
    }

    /// Whether there is a store, as far as can be told without opening it: a server is taken to have one.
    pub fn has_store(&self, setup: &Setup) -> bool {
        setup.database.is_some() || setup.sqlite_file().exists()
    }

    /// The clock that a verb dates by and compares with: the one that the roles go by.
    ///
    /// # Errors
    /// The store does not answer, or the sandbox whose clock is to be followed.
    pub async fn clock(&self, setup: &Setup, store: &dyn Store) -> Result<Arc<dyn Clock>, Failure> {
        Ok(Timekeeper::start(setup, store).await?.clock())
    }

    /// The same for a verb that opens no store.
    ///
    /// # Errors
    /// The sandbox whose clock is to be followed does not answer.
    pub async fn clock_without_store(&self, setup: &Setup) -> Result<Arc<dyn Clock>, Failure> {
        Ok(Timekeeper::without_store(setup).await?.clock())
    }

    /// The partner a verb means: the one named, or the only one.
    ///
    /// # Errors
    /// An unknown partner, or none named where there are several.
    pub fn partner<'s>(&self, setup: &'s Setup, named: Option<&PartnerId>) -> Result<&'s Partner, Failure> {
        let names = || setup.partners.iter().map(|partner| partner.id.as_str()).collect::<Vec<_>>().join(", ");
        match (named, setup.partners.as_slice()) {
            (Some(id), _) => {
                setup.partner(id).ok_or_else(|| Failure::usage(format!("there is no partner {id}; there is: {}", names())))
            }
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::usage(format!("say which partner with --partner: {}", names()))),
        }
    }
}

/// How long the first connection to a server may take; dependencies of a role may start after it.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What becomes of an SQLite store whose file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Create,
    Refuse,
}

/// # Errors
/// The store cannot be reached.
pub async fn open_store(setup: &Setup, missing: Missing) -> Result<Arc<dyn Store>, Failure> {
    Ok(open_sql(setup, missing).await?)
}

/// For a process that lives long enough to [follow](follow_database_url) what names its store.
///
/// # Errors
/// The store cannot be reached.
pub async fn open_sql(setup: &Setup, missing: Missing) -> Result<Arc<Sql>, Failure> {
    let (url, shown) = match &setup.database {
        Some(url) => (url.expose(), url.to_string()),
        None => (sqlite_url(&setup.sqlite_file())?, setup.sqlite_file().display().to_string()),
    };
    let url = if missing == Missing::Create { creating(url) } else { url };
    let connect = sql::connect(&url, sql::Options::default());
    match tokio::time::timeout(CONNECT_WITHIN, connect).await {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(error)) => Err(Failure::failed(format!("the store {shown} cannot be opened: {error}"))),
        Err(_) => Err(Failure::failed(format!("the store {shown} did not answer within {CONNECT_WITHIN:?}"))),
    }
}

/// Reads the store's URL again: from then on its new connections take a rotated password.
///
/// # Errors
/// A sentence without the URL; the last good one stays in use.
pub fn follow_database_url(setup: &Setup, store: &Sql) -> Result<(), String> {
    setup.database.as_ref().map_or(Ok(()), |url| url.refresh(|text| store.redirect(text)))
}

/// SQLite makes a file only when its URL says so.
pub fn creating(url: String) -> String {
    if !url.starts_with("sqlite:") || url.contains("mode=") {
        return url;
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}mode=rwc")
}

/// The URL of a file, so that no character of its path is taken for syntax.
///
/// # Errors
/// A path that is not absolute and cannot be made so.
pub fn sqlite_url(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let url = url::Url::from_file_path(&absolute)
        .map_err(|()| Failure::failed(format!("{} is not a path that a URL can name", absolute.display())))?;
    Ok(url.as_str().replacen("file:", "sqlite:", 1))
}

/// # Errors
/// A store of another version, with the command to run.
pub async fn refuse_unmigrated(store: &dyn Store) -> Result<(), Failure> {
    let pending = store.pending_migrations().await?;
    if pending.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("the store's schema is not up to date ({}): run `clawback migrate`", pending.join(", "))))
}

/// Its URL is read again before every connection.
///
/// # Errors
/// RabbitMQ cannot be reached.
pub async fn open_amqp(url: &ServerUrl) -> Result<Arc<dyn Broker>, Failure> {
    let source = url.clone();
    let source = Arc::new(move || source.refresh(|_| Ok(())).map(|()| source.expose()));
    let connect = Amqp::connect_from(source, amqp::Options::default());
    match tokio::time::timeout(CONNECT_WITHIN, connect).await {
        Ok(Ok(broker)) => Ok(Arc::new(broker)),
        Ok(Err(error)) => Err(Failure::failed(format!("RabbitMQ at {url}: {error}"))),
        Err(_) => Err(Failure::failed(format!("RabbitMQ at {url} did not answer within {CONNECT_WITHIN:?}"))),
    }
}

/// Exchanges and queues of the configured partners.
pub fn topology(partners: &[Partner]) -> Topology {
    let of = |partner: &Partner| PartnerTopology { partner: partner.id.clone(), event_queue: partner.settings.event_queue };
    Topology { partners: partners.iter().map(of).collect() }
}
