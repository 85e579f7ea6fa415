//! `clawback doctor`: looks at each part, and says what to do about what is wrong.

mod webhooks;

use std::{sync::Arc, time::Duration};

use clawback_domain::{Clock, answer::PacksAnswer};
use clawback_phygitals::Upstream;
use clawback_store::Store;
use serde::Serialize;
use serde_json::json;

use crate::{
    clock::{SystemClock, Timekeeper},
    config::{ClockSource, Needs, Partner, Setup},
    context::{Context, Missing, open_amqp, open_store, topology},
    failure::Failure,
    output,
    roles::Upstreams,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Works, but someone may care.
    Warning,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Finding {
    part: String,
    verdict: Verdict,
    what: String,
    /// What to do.
    advice: Option<String>,
}

impl Finding {
    fn ok(part: impl Into<String>, what: impl Into<String>) -> Self {
        Self { part: part.into(), verdict: Verdict::Ok, what: what.into(), advice: None }
    }

    fn wrong(part: impl Into<String>, what: impl Into<String>, advice: &str) -> Self {
        Self { part: part.into(), verdict: Verdict::Wrong, what: what.into(), advice: Some(advice.into()) }
    }

    fn warning(part: impl Into<String>, what: impl Into<String>, advice: &str) -> Self {
        Self { verdict: Verdict::Warning, ..Self::wrong(part, what, advice) }
    }
}

/// # Errors
/// Anything that is wrong.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let findings = examine(context).await;
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    context.out.result(&json!({ "ok": wrong == 0, "findings": &findings }), || text(&findings))?;
    if wrong == 0 { Ok(()) } else { Err(Failure::failed(format!("{wrong} part(s) need attention"))) }
}

async fn examine(context: &Context) -> Vec<Finding> {
    let setup = match context.setup(Needs::EVERYTHING) {
        Ok(setup) => setup,
        Err(error) => return vec![Finding::wrong("configuration", error.to_string(), "mend these, then run doctor again")],
    };
    let mut findings = vec![configuration(&setup)];
    findings.extend(store(&setup).await);
    findings.extend(broker(&setup).await);
    findings.extend(upstream(&setup).await);
    findings.extend(webhooks::hosts(&setup).await);
    findings.push(data_dir(&setup));
    findings
}

fn configuration(setup: &Setup) -> Finding {
    let place = setup.file.path.as_ref().map_or_else(|| "the environment".into(), |path| path.display().to_string());
    match setup.partners.len() {
        0 => Finding::warning(
            "configuration",
            format!("{place}: no partner"),
            "set PHYGITALS_API_KEY or write a [[partner]]; without either there is `clawback up --sandbox`",
        ),
        count => Finding::ok("configuration", format!("{place}: {count} partner(s)")),
    }
}

async fn store(setup: &Setup) -> Vec<Finding> {
    if setup.database.is_none() && !setup.sqlite_file().exists() {
        let what = format!("there is none at {} yet", setup.sqlite_file().display());
        return vec![Finding::warning("store", what, "`clawback up` makes it; or set DATABASE_URL")];
    }
    let store = match open_store(setup, Missing::Refuse).await {
        Ok(store) => store,
        Err(error) => return vec![Finding::wrong("store", error.to_string(), "check DATABASE_URL and that the server runs")],
    };
    let mut findings = Vec::new();
    match store.pending_migrations().await {
        Ok(pending) if pending.is_empty() => findings.push(Finding::ok("store", "reachable; the schema is up to date")),
        Ok(pending) => {
            findings.push(Finding::wrong("store", format!("missing: {}", pending.join(", ")), "run `clawback migrate`"))
        }
        Err(error) => findings.push(Finding::wrong("store", error.to_string(), "check DATABASE_URL and that the server runs")),
    }
    findings.push(clock(setup, &*store).await);
    if let Ok(pauses) = store.pauses().await
        && !pauses.is_empty()
    {
        let what: Vec<_> = pauses.iter().map(|pause| crate::pausing::describe(&pause.scope)).collect();
        findings.push(Finding::warning(
            "pauses",
            what.join("; "),
            "`clawback paused` says who and why; `clawback resume` ends it",
        ));
    }
    if store.pending_migrations().await.is_ok_and(|pending| pending.is_empty()) {
        findings.extend(webhooks::standing(&*store).await);
    }
    store.close().await;
    findings
}

async fn clock(setup: &Setup, store: &dyn Store) -> Finding {
    let advice = match setup.clock {
        ClockSource::System => "synchronise the clocks (NTP)",
        ClockSource::Upstream => "start the sandbox that PHYGITALS_URL names, or leave CLAWBACK_CLOCK out",
    };
    let time = Timekeeper::start(setup, store).await.map_err(|error| error.to_string());
    match time.and_then(|time| time.check().map(|()| time.describe())) {
        Ok(what) => Finding::ok("clock", what),
        Err(why) => Finding::wrong("clock", why, advice),
    }
}

async fn broker(setup: &Setup) -> Vec<Finding> {
    let Some(url) = &setup.amqp else {
        return vec![Finding::ok("broker", "the embedded one, within `clawback up`")];
    };
    let broker = match open_amqp(url).await {
        Ok(broker) => broker,
        Err(error) => return vec![Finding::wrong("broker", error.to_string(), "check AMQP_URL and that RabbitMQ runs")],
    };
    let finding = match broker.check(&topology(&setup.partners)).await {
        Ok(missing) if missing.is_empty() => Finding::ok("broker", format!("{url}: reachable; exchanges and queues are there")),
        Ok(missing) => {
            let missing: Vec<_> = missing.into_iter().map(|mismatch| mismatch.0).collect();
            Finding::wrong("broker", missing.join("; "), "run `clawback topology apply`")
        }
        Err(error) => Finding::wrong("broker", error.to_string(), "check the permissions of this login"),
    };
    broker.close(Duration::from_secs(2)).await;
    vec![finding]
}

/// Reads the packs list of each partner: it costs nothing and shows that the key is let in.
async fn upstream(setup: &Setup) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let upstreams = match Upstreams::open(&setup.partners, &setup.upstream, &clock) {
        Ok(upstreams) => upstreams,
        Err(error) => return vec![Finding::wrong("upstream", error.to_string(), "check the key and PHYGITALS_URL")],
    };
    let mut findings = Vec::with_capacity(upstreams.0.len());
    for (upstream, partner) in upstreams.0.iter().zip(&setup.partners) {
        findings.push(account(partner, setup, upstream.client.packs().await));
    }
    findings
}

fn account(partner: &Partner, setup: &Setup, answer: PacksAnswer) -> Finding {
    let part = format!("upstream of {}", partner.id);
    match answer {
        PacksAnswer::Listed(packs) => {
            Finding::ok(part, format!("{}: the key is let in; {} packs", setup.upstream, packs.len()))
        }
        PacksAnswer::Unauthorized => Finding::wrong(part, format!("{} refuses the key", setup.upstream), "replace the API key"),
        PacksAnswer::Unreadable { why } => {
            Finding::wrong(part, format!("{}: {why}", setup.upstream), "check PHYGITALS_URL and the network")
        }
    }
}

/// Whether others may read what is kept there (the store, and the token that `up` made).
fn data_dir(setup: &Setup) -> Finding {
    let token = setup.data_dir.join("token");
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(&token) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            let what = format!("{} may be read by others (mode {mode:o})", token.display());
            return Finding::wrong("data directory", what, "chmod 600 it");
        }
    }
    Finding::ok("data directory", setup.data_dir.display().to_string())
}

fn text(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "note",
            Verdict::Wrong => "WRONG",
        };
        let advice = finding.advice.clone().unwrap_or_default();
        [finding.part.clone(), verdict.into(), finding.what.replace('\n', "; "), advice]
    };
    output::table(["part", "", "what", "what to do"], findings.iter().map(row))
}
