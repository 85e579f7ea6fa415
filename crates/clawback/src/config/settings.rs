//! What may be set for a partner, with every default: here, and for warnings in [`super::expiry`], the keys of the file are named.

use std::{ops::RangeInclusive, time::Duration};

use clawback_domain::{
    PackId,
    poll::{PollRules, ReconcileRules, Timeouts},
    purchase::Rules,
    warning::{Leads, SaleRule, WarningRules},
};
use clawback_webhook::Endpoint;

use super::{
    expiry::{read_sale, read_warnings},
    reader::{Reader, When, quoted, text},
    secret::Secret,
};

/// A partner's settings, merged key by key: its own over `[defaults]` over what is built in.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub concurrency: u32,
    pub poll_concurrency: u32,
    pub rate_per_second: u32,
    pub sell: Sell,
    pub timeouts: Timeouts,
    pub poll: PollRules,
    pub reconcile: ReconcileRules,
    pub max_wait: Duration,
    /// `None`: no warnings at all.
    pub warnings: Option<WarningRules>,
    pub exclusive: bool,
    pub event_queue: bool,
    pub webhook: Option<Webhook>,
    /// What is sold before its window shuts. `None`: nothing.
    pub sale: Option<SaleRule>,
    pub closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sell {
    pub concurrency: u32,
    pub rate_per_second: u32,
}

impl Default for Sell {
    fn default() -> Self {
        Self { concurrency: 16, rate_per_second: 20 }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub url: String,
    pub secret: Option<Secret>,
    pub allow_insecure: bool,
}

impl Settings {
    /// What the purchase machine must know. `item_ids_repeat`: of the upstream, as [`Rules`] has it.
    pub fn rules(&self, item_ids_repeat: bool) -> Rules {
        Rules {
            poll: self.poll,
            timeouts: self.timeouts,
            reconcile: self.reconcile,
            max_wait: self.max_wait,
            exclusive: self.exclusive,
            item_ids_repeat,
        }
    }

    /// The same, with lead times for what was drawn from these packs.
    pub fn with_packs(mut self, packs: impl IntoIterator<Item = (PackId, Leads)>) -> Self {
        let with_pack = |rules: WarningRules, (pack, leads)| rules.with_pack(pack, leads);
        self.warnings = self.warnings.map(|rules| packs.into_iter().fold(rules, with_pack));
        self
    }

    /// Reads every key but those that name the partner and its secrets. `secret` reads one of the latter by its key.
    pub fn read(reader: &mut Reader<'_>, secret: impl Fn(&mut Reader<'_>, &str, &'static str) -> Option<Secret>) -> Self {
        let rules = Rules::default();
        let settings = Self {
            concurrency: reader.count("concurrency", "buy calls in flight, for the whole installation", 64, CALLS),
            poll_concurrency: reader.count("poll_concurrency", "status calls in flight (the upstream holds them)", 1024, CALLS),
            rate_per_second: reader.count("rate_per_second", "buy calls begun per second", 50, RATE),
            sell: reader.table("sell", "sellbacks: a budget of their own", When::Always, read_sell).unwrap_or_default(),
            timeouts: reader
                .table("timeouts", "how long each call may take, to the last byte of its answer", When::Always, |reader| {
                    read_timeouts(reader, rules.timeouts)
                })
                .unwrap_or(rules.timeouts),
            poll: reader
                .table("poll", "how a purchase is followed until the upstream settles it", When::Always, |reader| {
                    read_poll(reader, rules.poll)
                })
                .unwrap_or(rules.poll),
            // Read below: its window depends on the poll deadline.
            reconcile: rules.reconcile,
            max_wait: reader.duration("max_wait", "how long a command may wait before it is called", rules.max_wait, LONG),
            warnings: reader
                .table("warnings", "before a buyback window shuts; false: none", When::Unless, read_warnings)
                .flatten(),
            exclusive: reader.flag("exclusive", "Clawback alone buys with this key", true),
            event_queue: reader.flag("event_queue", "a queue clawback.events.<partner> collects this partner's events", true),
            webhook: reader.table(
                "webhook",
                "events by HTTP as well, signed as Standard Webhooks",
                When::Given(r#"{ url = "https://acme.example/hooks", secret_file = "secrets/acme-hook" }"#),
                |reader| read_webhook(reader, &secret),
            ),
            sale: reader
                .table(
                    "sell_before_expiry",
                    "sell by itself what nobody sold; both minima must hold",
                    When::Given(r#"{ at = "30m", stop_before = "5m", min_share = "0.9", min_price = "5.00" }"#),
                    read_sale,
                )
                .flatten(),
            closed: reader.flag("closed", "true: no new commands; open ones are followed to their end", false),
        };
        let window = settings.poll.deadline.mul_f64(1.5);
        let reconcile = reader
            .table("reconcile", "how an unknown outcome is looked into", When::Always, |reader| read_reconcile(reader, window));
        Self { reconcile: reconcile.unwrap_or(ReconcileRules { window, ..settings.reconcile }), ..settings }
    }
}

/// Prefetch is a multiple of it, and AMQP counts prefetch in 16 bits.
const CALLS: RangeInclusive<u32> = 1..=16_384;
const RATE: RangeInclusive<u32> = 1..=100_000;
/// A call that takes longer than ten minutes holds a drain and a deadline for as long.
const CALL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
const SHORT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
pub(super) const LONG: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(90 * 86_400);

fn read_sell(reader: &mut Reader<'_>) -> Sell {
    Sell {
        concurrency: reader.count("concurrency", "buyback calls in flight", 16, CALLS),
        rate_per_second: reader.count("rate_per_second", "buyback calls begun per second", 20, RATE),
    }
}

fn read_timeouts(reader: &mut Reader<'_>, built_in: Timeouts) -> Timeouts {
    Timeouts {
        connect: reader.duration("connect", "until a connection stands", built_in.connect, CALL),
        init: reader.duration("init", "buy/init", built_in.init, CALL),
        status: reader.duration("status", "buy/status: above the window in which it is held", built_in.status, CALL),
        inventory: reader.duration("inventory", "reading an inventory", built_in.inventory, CALL),
        buyback: reader.duration("buyback", "buyback", built_in.buyback, CALL),
    }
}

fn read_poll(reader: &mut Reader<'_>, built_in: PollRules) -> PollRules {
    let rules = PollRules {
        first: reader.duration("first", "the wait before the second poll; it doubles from there", built_in.first, SHORT),
        max: reader.duration("max", "the longest wait between two polls", built_in.max, SHORT),
        deadline: reader.duration("deadline", "still pending after this: review", built_in.deadline, LONG),
    };
    if rules.first > rules.max {
        reader.problem("first", "must not be longer than `max`");
    }
    if rules.max > rules.deadline {
        reader.problem("max", "must not be longer than `deadline`");
    }
    rules
}

fn read_reconcile(reader: &mut Reader<'_>, window: Duration) -> ReconcileRules {
    let built_in = ReconcileRules::default();
    let reconcile = ReconcileRules {
        first: reader.duration("first", "the wait before the first look; it doubles from there", built_in.first, SHORT),
        max: reader.duration("max", "the longest wait between two looks", built_in.max, SHORT),
        clock_skew: reader.duration("clock_skew", "by how much the upstream's clock may be off", built_in.clock_skew, SHORT),
        window: reader.duration("window", "how long to look; 1.5 × poll.deadline unless given", window, LONG),
    };
    if reconcile.first > reconcile.max {
        reader.problem("first", "must not be longer than `max`");
    }
    reconcile
}

fn read_webhook(reader: &mut Reader<'_>, secret: impl Fn(&mut Reader<'_>, &str, &'static str) -> Option<Secret>) -> Webhook {
    let allow_insecure = reader.flag("allow_insecure", "loopback and http, for development", false);
    let read = |value: &toml::Value| webhook_url(&text(value)?, allow_insecure);
    let url = reader.optional("url", "where events are posted to", r#""https://acme.example/hooks""#, read, |url| quoted(url));
    let secret = secret(reader, "secret", "signs; may hold two secrets, one a line, while rotating");
    if url.is_none() {
        reader.problem("url", "a webhook needs a readable `url`");
    }
    if secret.is_none() {
        reader.problem("secret_file", "a webhook needs `secret_file` or `secret_env`: events are signed");
    }
    Webhook { url: url.unwrap_or_default(), secret, allow_insecure }
}

fn webhook_url(text: &str, allow_insecure: bool) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_insecure => {}
        "http" => return Err("must be https; `allow_insecure = true` allows http for development".into()),
        _ => return Err("must be an https URL".into()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or a password".into());
    }
    Endpoint::check(text, allow_insecure).map(|()| text.into()).map_err(|error| error.to_string())
}
