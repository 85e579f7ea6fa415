//! An installation with an upstream of its own, on servers that the test chose and may break.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use clawback_domain::{
    order::StateName,
    pause::CommandKind::{self, Purchase, Sellback},
};
use clawback_store::{
    Store,
    sql::{self, Options, Sql},
};
use futures_util::future::try_join_all;

use super::Order;
use crate::{Installation, Partner, Role, Sandbox, sandbox::Held, wait::until};

/// What a rehearsal is made of.
pub struct Plan<'a> {
    pub partners: usize,
    /// Arguments of `clawback sandbox` beyond the mode and the keys.
    pub upstream: &'a [&'a str],
    /// What stands under `[defaults]` of the configuration file.
    pub defaults: &'a str,
}

/// Migrated, declared, with a running upstream and no roles yet. Declare its servers before it and its roles after it: they end in
/// reverse order.
pub struct Stage {
    pub partners: Vec<String>,
    pub store: Sql,
    upstream: Sandbox,
    installation: Installation,
    amqp: String,
}

fn key_of(partner: &str) -> String {
    format!("key-of-{partner}")
}

/// How long a worker may take to end after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(20);

impl Stage {
    pub async fn set(amqp: &str, database: &str, plan: Plan<'_>) -> Result<Self> {
        let mut installation = Installation::new()?;
        let partners: Vec<String> = (0..plan.partners).map(|number| format!("partner-{number}")).collect();
        let keys: Vec<String> = partners.iter().map(|name| format!("--api-key={}", key_of(name))).collect();
        let mut arguments = vec!["--mode=production"];
        arguments.extend(plan.upstream.iter().copied().chain(keys.iter().map(String::as_str)));
        let upstream = Sandbox::start(&mut installation, &arguments).await?;
        installation.set("AMQP_URL", amqp).set("DATABASE_URL", database).set("PHYGITALS_URL", upstream.url());
        let mut file = format!("drain = \"{}s\"\n[defaults]\n{}\n", DRAIN.as_secs(), plan.defaults);
        for (number, name) in partners.iter().enumerate() {
            installation.set(&format!("KEY_{number}"), key_of(name));
            writeln!(file, "[[partner]]\nname = \"{name}\"\napi_key_env = \"KEY_{number}\"")?;
        }
        installation.configure(&file)?;
        installation.run(&["migrate"]).await?;
        installation.run(&["topology", "apply"]).await?;
        let store = sql::connect(database, Options::default()).await?;
        Ok(Self { partners, store, upstream, installation, amqp: amqp.to_owned() })
    }

    /// A worker that consumes.
    pub async fn worker(&mut self) -> Result<Role> {
        self.installation.start_ready(&["worker"]).await
    }

    pub async fn scheduler(&mut self) -> Result<Role> {
        self.installation.start_ready(&["scheduler"]).await
    }

    /// A role that has just been started, with variables of its own.
    pub fn start(&mut self, role: &str, variables: &[(&str, &str)]) -> Result<Role> {
        self.installation.start_with(&[role], variables)
    }

    pub fn upstream(&self) -> &Sandbox {
        &self.upstream
    }

    /// To change what roles are started with from now on: they may reach their servers another way than the stage does.
    pub fn installation(&mut self) -> &mut Installation {
        &mut self.installation
    }

    /// As a partner's own program would reach the broker.
    pub async fn partner(&self, name: &str) -> Result<Partner> {
        Partner::connect(&self.amqp, name).await
    }

    /// What a user holds, read by this partner's key.
    pub async fn inventory(&self, partner: &str, user: &str) -> Result<Vec<Held>> {
        self.upstream.inventory(&key_of(partner), user).await
    }

    /// Publishes every order by its partner; done when the broker has them all.
    pub async fn publish(&self, orders: &[Order]) -> Result<()> {
        let each = self.partners.iter().map(|name| async move {
            let theirs = orders.iter().filter(|order| order.partner == *name).map(Order::command);
            self.partner(name).await?.purchase_all(theirs).await
        });
        try_join_all(each).await.map(drop).context("the commands could not be published")
    }

    /// Waits until so many purchases have become rows.
    pub async fn stored(&self, at_least: usize, within: Duration) -> Result<()> {
        until(&format!("{at_least} commands are stored"), within, || self.rows(Purchase, at_least, |_| true)).await
    }

    /// Waits until so many purchases have come to an end, or to a person.
    pub async fn ended(&self, at_least: usize, within: Duration) -> Result<()> {
        until(&format!("{at_least} purchases have ended"), within, || self.rows(Purchase, at_least, StateName::is_announced))
            .await
    }

    /// Waits until so many purchases are in this state.
    pub async fn in_state(&self, state: StateName, at_least: usize, within: Duration) -> Result<()> {
        let what = format!("{at_least} purchases are {state}");
        until(&what, within, || self.rows(Purchase, at_least, |found| found == state)).await
    }

    /// Waits until so many sellbacks have come to an end, or to a person.
    pub async fn sold(&self, at_least: usize, within: Duration) -> Result<()> {
        let ended = || self.rows(Sellback, at_least, StateName::is_announced);
        until(&format!("{at_least} sellbacks have ended"), within, ended).await
    }

    async fn rows(&self, kind: CommandKind, at_least: usize, which: impl Fn(StateName) -> bool) -> Result<()> {
        let mut states = BTreeMap::<StateName, u64>::new();
        for ((_, found, state), count) in self.store.counts().await? {
            if found == kind {
                *states.entry(state).or_default() += count;
            }
        }
        let found: u64 = states.iter().filter(|(state, _)| which(**state)).map(|(_, count)| count).sum();
        ensure!(found >= at_least as u64, "{found}, of {states:?}");
        Ok(())
    }
}

/// The sum of a gauge over all partners, as this role reports it.
pub async fn gauge(role: &Role, name: &str) -> Result<usize> {
    let name = name.replace('.', "_");
    let text = role.metrics().await?;
    let lines = text.lines().filter(|line| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum::<f64>() as usize)
}
