//! `clawback webhooks list | test | replay | enable`

use std::time::Duration;

use clap::Subcommand;
use clawback_domain::{EventId, PartnerId, Time, clock::after};
use clawback_store::{Replay, Store, Webhook};
use clawback_webhook::{Delivery, Outcome};
use serde_json::{Value, json};

use super::{history, who::WhoFlags};
use crate::{
    auditing::Since,
    config::{Needs, Partner, Setup},
    context::Context,
    failure::Failure,
    output,
    roles::webhooks as endpoints,
};

#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// Each endpoint: how it stands, and what waits for it
    #[command(after_help = "Example:\n  clawback webhooks list --json")]
    List,
    /// Sends a signed event of no meaning, once, and says what came back
    #[command(after_help = "Example:\n  clawback webhooks test --partner acme")]
    Test {
        #[arg(long)]
        partner: Option<PartnerId>,
    },
    /// Delivers events once more, with the ids they had
    #[command(
        after_help = "Examples:\n  clawback webhooks replay --partner acme --given-up --reason \"their server was down\"\n  \
                            clawback webhooks replay --partner acme --since 24h --dry-run"
    )]
    Replay(ReplayFlags),
    /// Delivers again to an endpoint that is disabled or held
    #[command(after_help = "Example:\n  clawback webhooks enable --partner acme --reason \"they have a new URL\"")]
    Enable {
        #[arg(long)]
        partner: Option<PartnerId>,
        #[command(flatten)]
        who: WhoFlags,
    },
}

#[derive(Debug, clap::Args)]
pub struct ReplayFlags {
    #[arg(long)]
    partner: Option<PartnerId>,
    #[command(flatten)]
    which: Which,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: WhoFlags,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// What happened since: so long ago (24h), or a time (2026-03-01T12:00:00Z)
    #[arg(long, value_name = "SPAN|TIME")]
    since: Option<Since>,
    /// One event, by its id
    #[arg(long, value_name = "ID")]
    event: Option<EventId>,
    /// What was given up
    #[arg(long)]
    given_up: bool,
}

/// Put back in one transaction, and so many come due at once: what happens meanwhile is delivered between them.
const PAGE: u32 = 250;
const BETWEEN_PAGES: Duration = Duration::from_secs(5);

/// # Errors
/// The store, a partner without a webhook, or an endpoint that did not take the test.
pub async fn run(context: &Context, verb: Webhooks) -> Result<(), Failure> {
    if let Webhooks::Test { partner } = verb {
        return test(context, partner.as_ref()).await;
    }
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let done = match verb {
        Webhooks::List => list(context, &setup, &*store).await,
        Webhooks::Test { .. } => unreachable!("it needs no store"),
        Webhooks::Replay(flags) => replay(context, &setup, &*store, flags).await,
        Webhooks::Enable { partner, who } => enable(context, &setup, &*store, partner.as_ref(), &who).await,
    };
    store.close().await;
    done
}

async fn list(context: &Context, setup: &Setup, store: &dyn Store) -> Result<(), Failure> {
    let known = store.webhooks().await?;
    let url =
        |id: &PartnerId| setup.partner(id).and_then(|partner| partner.settings.webhook.as_ref()).map(|hook| host(&hook.url));
    let rows: Vec<_> = known.iter().map(|webhook| object(webhook, url(&webhook.partner))).collect();
    context.out.result(&json!({ "webhooks": rows }), || {
        let row = |webhook: &Webhook| {
            let count = |count: u64| count.to_string();
            let oldest = webhook.oldest.map(|oldest| oldest.format("%F %T").to_string()).unwrap_or_default();
            let why = webhook.disabled.as_ref().map(|(_, why)| why.clone()).or(webhook.last_error.clone()).unwrap_or_default();
            let url = url(&webhook.partner).unwrap_or_else(|| "(not configured)".into());
            [
                webhook.partner.to_string(),
                state(webhook).into(),
                count(webhook.waiting),
                count(webhook.given_up),
                oldest,
                url,
                why,
            ]
        };
        output::table(["partner", "state", "waiting", "given up", "oldest", "endpoint", "why"], known.iter().map(row))
    })
}

fn state(webhook: &Webhook) -> &'static str {
    match (&webhook.disabled, webhook.breaker.held_until) {
        (Some(_), _) => "disabled",
        (None, Some(_)) => "held",
        (None, None) => "delivering",
    }
}

fn object(webhook: &Webhook, endpoint: Option<String>) -> Value {
    json!({
        "partner": webhook.partner,
        "endpoint": endpoint,
        "state": state(webhook),
        "disabled_at": webhook.disabled.as_ref().map(|(at, _)| at),
        "disabled_why": webhook.disabled.as_ref().map(|(_, why)| why),
        "failures": webhook.breaker.failures,
        "held_until": webhook.breaker.held_until,
        "waiting": webhook.waiting,
        "given_up": webhook.given_up,
        "oldest": webhook.oldest,
        "last_error": webhook.last_error,
        "last_act": webhook.acted.as_ref().map(|(at, what)| json!({ "at": at, "what": what })),
    })
}

/// Without path and query, where tokens are found.
fn host(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| "(unreadable)".into(), |url| url.origin().ascii_serialization())
}

async fn test(context: &Context, named: Option<&PartnerId>) -> Result<(), Failure> {
    let setup = context.setup(Needs::KEYS)?;
    let partner = context.partner(&setup, named)?;
    let endpoint = endpoints::endpoint(partner).map_err(Failure::usage)?.ok_or_else(|| no_webhook(partner))?;
    let now = context.clock_without_store(&setup).await?.now();
    let id = EventId(uuid::Uuid::new_v4());
    let delivery = Delivery { id, body: meaningless(partner, id, now).into(), timestamp: now };
    let outcome = endpoints::receiver()?.deliver(&endpoint, delivery).await;
    let delivered = matches!(outcome, Outcome::Delivered { .. });
    let said = outcome.to_string();
    context.out.result(&json!({ "partner": partner.id, "id": id, "delivered": delivered, "answer": said }), || {
        format!("{endpoint}: {said}")
    })?;
    if delivered { Ok(()) } else { Err(Failure::failed(format!("the webhook of {} did not take it", partner.id))) }
}

fn no_webhook(partner: &Partner) -> Failure {
    Failure::usage(format!("partner {} has no webhook: give it `webhook = {{ url = …, secret_file = … }}`", partner.id))
}

/// Of a type that consumers do not know, and so ignore.
fn meaningless(partner: &Partner, id: EventId, now: Time) -> String {
    let event = json!({
        "specversion": "1.0",
        "id": id,
        "source": format!("/clawback/{}", partner.id),
        "type": "clawback.webhook.test",
        "subject": id,
        "time": now,
        "datacontenttype": "application/json",
        "data": {},
    });
    event.to_string()
}

async fn replay(context: &Context, setup: &Setup, store: &dyn Store, flags: ReplayFlags) -> Result<(), Failure> {
    let partner = context.partner(setup, flags.partner.as_ref())?.id.clone();
    let known = store.webhooks().await?.into_iter().find(|webhook| webhook.partner == partner);
    let known = known.ok_or_else(|| Failure::failed(format!("nothing was ever delivered to a webhook of {partner}")))?;
    let clock = context.clock(setup, store).await?;
    let since = flags.which.since.map(|since| since.at(clock.now()).unwrap_or(Time::MIN_UTC));
    if flags.dry_run {
        let count = would(store, &known, &flags.which, since).await?;
        return context.out.result(&json!({ "would_replay": count }), || format!("{count} would be delivered once more"));
    }
    let act = act("replayed", &flags.who);
    let (mut count, mut due_at) = (0, clock.now());
    let mut what = match (flags.which.event, since) {
        (Some(id), _) => Replay::Event(id),
        (None, Some(since)) => {
            Replay::Since { since, position: history::before(store, Some(&partner), since).await?, limit: PAGE }
        }
        (None, None) => Replay::GivenUp { limit: PAGE },
    };
    loop {
        let page = store.replay_deliveries(&partner, what, due_at, &act).await?;
        count += page.count;
        let Some(next) = page.next else { break };
        if let Replay::Since { position, .. } = &mut what {
            *position = next;
        }
        due_at = after(due_at, BETWEEN_PAGES);
    }
    if count == 0 && flags.which.event.is_some() {
        return Err(Failure::failed(format!("that event is none of {partner}'s, or waits for its delivery already")));
    }
    context.out.result(&json!({ "replayed": count }), || format!("{count} will be delivered once more"))
}

/// How many a replay would deliver, at most.
async fn would(store: &dyn Store, webhook: &Webhook, which: &Which, since: Option<Time>) -> Result<u64, Failure> {
    let partner = &webhook.partner;
    if let Some(id) = which.event {
        let found = store.event(id).await?;
        return Ok(u64::from(found.is_some_and(|stored| stored.event.partner == *partner)));
    }
    let Some(since) = since else { return Ok(webhook.given_up) };
    let mut pages = history::Pages::new(store, Some(partner), since).await?;
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        count += page.iter().filter(|stored| stored.position <= webhook.position).count() as u64;
    }
    Ok(count)
}

async fn enable(
    context: &Context,
    setup: &Setup,
    store: &dyn Store,
    named: Option<&PartnerId>,
    who: &WhoFlags,
) -> Result<(), Failure> {
    let partner = &context.partner(setup, named)?.id;
    let now = context.clock(setup, store).await?.now();
    if !store.enable_webhook(partner, &act("enabled", who), now).await? {
        return Err(Failure::failed(format!("nothing was ever delivered to a webhook of {partner}")));
    }
    context.out.result(&json!({ "enabled": partner }), || format!("what waits for {partner} is delivered again"))
}

fn act(what: &str, who: &WhoFlags) -> String {
    match who.why() {
        "" => format!("{what} by {}", who.by()),
        why => format!("{what} by {}: {why}", who.by()),
    }
}
