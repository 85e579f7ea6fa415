//! `clawback review list | show | resolve`

use std::{
    io::{self, BufRead, IsTerminal},
    sync::Arc,
};

use clap::Subcommand;
use clawback_domain::{
    Clock, ItemId, PartnerId, SessionId,
    purchase::{Purchase, Resolution, State},
};
use clawback_store::Store;

use super::{find, who::WhoFlags};
use crate::{
    clock::SystemClock,
    config::{Needs, Setup},
    context::Context,
    failure::Failure,
    output::{self, Output, printable},
    reviewing::{self, Listed, ListedReview, Resolved, Shown, Wanted, Word},
    roles,
};

#[derive(Debug, Subcommand)]
pub enum ReviewVerb {
    /// What waits for a person, longest in doubt first
    #[command(after_help = "Example:\n  clawback review list --partner acme")]
    List {
        #[arg(long)]
        partner: Option<PartnerId>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// The doubt, the evidence, the timeline, and what can be done
    #[command(after_help = "Example:\n  clawback review show order-17")]
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Settles the doubt with a person's word
    Resolve(ResolveFlags),
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// A purchase's id or request_id
    id: String,
    /// Whose request_id it is
    #[arg(long)]
    partner: Option<PartnerId>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  clawback review resolve order-17 --fulfilled-with item-4 item-9 --reason \"both are there\"\n  \
                  clawback review resolve order-17 --failed --reason \"the upstream never saw the order\""
)]
pub struct ResolveFlags {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    wanted: WantedFlags,
    /// With --retry: instead of typing the purchase's id
    #[arg(long, conflicts_with_all = ["fulfilled_with", "session", "failed"])]
    accept_double_purchase: bool,
    #[command(flatten)]
    who: WhoFlags,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WantedFlags {
    /// It bought these items, as many as were ordered
    #[arg(long, num_args = 1.., value_name = "ITEM")]
    fulfilled_with: Vec<ItemId>,
    /// This is the upstream's session of it; it is followed to its end
    #[arg(long)]
    session: Option<SessionId>,
    /// It bought nothing, and ends failed; the partner reads the reason
    #[arg(long)]
    failed: bool,
    /// It bought nothing, and is called again; if it did buy, it buys twice
    #[arg(long)]
    retry: bool,
}

impl From<WantedFlags> for Wanted {
    fn from(flags: WantedFlags) -> Self {
        let fulfilled_with = Some(flags.fulfilled_with).filter(|items| !items.is_empty());
        Self { fulfilled_with, session: flags.session, failed: flags.failed, retry: flags.retry }
    }
}

/// # Errors
/// No such purchase; one that is not in review; a word that does not fit it, or was not confirmed; the store.
pub async fn run(context: &Context, verb: ReviewVerb) -> Result<(), Failure> {
    match verb {
        ReviewVerb::List { partner, limit } => {
            let store = context.store(&context.setup(Needs::NOTHING)?).await?;
            let listed = reviewing::list(&*store, partner.as_ref(), limit).await?;
            store.close().await;
            context.out.result(&listed, || list(&listed))
        }
        ReviewVerb::Show { which } => {
            let Opened { setup, store, clock } = open(context).await?;
            let purchase = find::purchase(&*store, &which.id, which.partner.as_ref()).await?;
            let rules = roles::rules(&setup)(&purchase.partner);
            let shown = Shown::read(&*store, purchase, &rules, clock.now()).await?;
            store.close().await;
            context.out.result(&shown.object(), || shown.text())
        }
        ReviewVerb::Resolve(flags) => resolve(context, flags).await,
    }
}

struct Opened {
    setup: Setup,
    store: Arc<dyn Store>,
    clock: SystemClock,
}

async fn open(context: &Context) -> Result<Opened, Failure> {
    let setup = context.setup(Needs::NOTHING)?;
    let store = context.store(&setup).await?;
    let clock = SystemClock::default();
    clock.measure(&*store).await?;
    Ok(Opened { setup, store, clock })
}

fn list(listed: &Listed) -> String {
    if listed.reviews.is_empty() {
        return "nothing is in review".into();
    }
    let row = |review: &ListedReview| {
        [
            review.since.format("%Y-%m-%d %H:%M:%S").to_string(),
            review.partner.to_string(),
            review.user_id.to_string(),
            format!("{} × {}", review.amount, review.pack_id),
            review.code.to_string(),
            review.looks.to_string(),
            review.message.clone(),
            review.purchase_id.to_string(),
        ]
    };
    let header = ["since", "partner", "user", "what", "code", "looks", "message", "id"];
    let mut text = output::table(header, listed.reviews.iter().map(row));
    if listed.total > listed.reviews.len() {
        text.push_str(&format!("\n{} of {}; --limit shows more", listed.reviews.len(), listed.total));
    }
    text
}

async fn resolve(context: &Context, flags: ResolveFlags) -> Result<(), Failure> {
    let resolution = Wanted::from(flags.wanted).resolution().map_err(Failure::usage)?;
    let ask = resolution == Resolution::Retry && !flags.accept_double_purchase;
    if ask && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage(
            "--retry may buy twice. On a terminal it asks for the purchase's id; anywhere else say --accept-double-purchase",
        ));
    }
    let Opened { setup, store, clock } = open(context).await?;
    let seen = find::purchase(&*store, &flags.which.id, flags.which.partner.as_ref()).await?;
    let rules = roles::rules(&setup)(&seen.partner);
    let word = Word { resolution, by: flags.who.by(), why: flags.who.why().to_owned() };
    // What cannot be done is said before anybody is asked.
    let resolved = match reviewing::check(&seen, &seen, &word, &rules, clock.now()) {
        Err(resolved) => resolved,
        Ok(_) if ask && !confirmed(&context.out, &seen, &mut io::stdin().lock()) => {
            return Err(Failure::failed("not confirmed; nothing was done"));
        }
        Ok(_) => {
            tell_of_unseen(&context.out, &seen, &word.resolution);
            reviewing::resolve(&*store, &clock, &rules, &seen, &word).await?
        }
    };
    store.close().await;
    match resolved {
        Resolved::Done(purchase) => context.out.result(&reviewing::object(&purchase), || done(&purchase)),
        Resolved::Conflict(purchase, why) => {
            Err(Failure::failed(format!("purchase {} is {}: {why}", purchase.id, purchase.state.name())))
        }
        Resolved::Refused(why) => Err(Failure::failed(format!("purchase {} stays in review: {why}", seen.id))),
    }
}

/// Asks for the id: what is typed by habit is `y`.
fn confirmed(out: &Output, purchase: &Purchase, input: &mut impl BufRead) -> bool {
    out.say(&format!(
        "Purchase {} ({} × {} for {} of {}) is called again. If its first call did buy, this buys twice.\nType the purchase's id \
         to go on:",
        purchase.id,
        purchase.command.amount,
        printable(purchase.command.pack_id.as_str()),
        printable(purchase.command.user_id.as_str()),
        purchase.partner,
    ));
    let mut line = String::new();
    // What cannot be read confirms nothing.
    input.read_line(&mut line).is_ok() && line.trim() == purchase.id.to_string()
}

/// A misspelt item id is taken as well as any: who resolves should notice.
fn tell_of_unseen(out: &Output, purchase: &Purchase, resolution: &Resolution) {
    let (Resolution::FulfilledWith(items), State::Review(review)) = (resolution, &purchase.state) else { return };
    let looks = review.evidence.as_ref().map(|evidence| evidence.looks.as_slice()).unwrap_or_default();
    for item in items {
        if !looks.iter().any(|look| look.unexplained.contains(&item.item_id)) {
            out.say(&format!(
                "note: no look has shown {} as unexplained; your word is taken",
                printable(item.item_id.as_str())
            ));
        }
    }
}

fn done(purchase: &Purchase) -> String {
    let what = match &purchase.state {
        State::Pending(pending) => format!("pending again; session {} is followed to its end", pending.session),
        State::Accepted { .. } => "accepted again; a worker calls it next".into(),
        State::Fulfilled(_) | State::Failed { .. } => format!("{}; the partner is told", purchase.state.name()),
        State::Initiating(_) | State::Reconciling(_) | State::Review(_) => purchase.state.name().to_string(),
    };
    format!("purchase {} is {}", purchase.id, printable(&what))
}

#[cfg(test)]
mod tests {
    use clawback_domain::{Time, command::parse_purchase, trace::TraceContext};

    use super::*;

    #[test]
    fn only_the_purchases_own_id_confirms() {
        let body = br#"{"request_id":"r","user_id":"u","pack_id":"p","amount":1}"#;
        let trace = TraceContext::start(uuid::Uuid::from_u128(1), 1);
        let partner = PartnerId::new("acme").unwrap();
        let purchase = Purchase::accept(partner, parse_purchase(None, body).unwrap(), Time::UNIX_EPOCH, trace);
        let out = Output { json: false };
        let id = purchase.id.to_string();
        for (typed, expected) in
            [(format!("{id}\n"), true), (format!(" {id} "), true), ("y\n".into(), false), (String::new(), false)]
        {
            assert_eq!(confirmed(&out, &purchase, &mut typed.as_bytes()), expected, "{typed:?}");
        }
    }
}
