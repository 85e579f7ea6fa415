//! `clawback review resolve`

use std::io::{self, BufRead, IsTerminal};

use clawback_domain::{
    ItemId, Money, SessionId,
    order::{AnyOrder, StateName},
    pause::CommandKind,
    purchase::State,
};

use super::{Opened, Which, open};
use crate::{
    context::Context,
    failure::Failure,
    kind::{name, what},
    output::{Output, printable},
    reviewing::{self, Resolved, Said, Wanted, Word},
    roles,
    verbs::{find, who::WhoFlags},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  clawback review resolve order-17 --fulfilled-with item-4 item-9 --reason \"both are there\"\n  \
                  clawback review resolve order-17 --failed --reason \"the upstream never saw the order\"\n  clawback review \
                  resolve sale-3 --sold 8.50 --reason \"it is on their statement\""
)]
pub struct ResolveFlags {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    wanted: WantedFlags,
    /// With --retry of a purchase: instead of typing its id
    #[arg(long, conflicts_with_all = ["fulfilled_with", "session", "sold", "failed"])]
    accept_double_purchase: bool,
    /// With --retry of a sellback: instead of typing its id
    #[arg(long, conflicts_with_all = ["fulfilled_with", "session", "sold", "failed", "accept_double_purchase"])]
    accept_double_sale: bool,
    #[command(flatten)]
    who: WhoFlags,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WantedFlags {
    /// A purchase: it bought these items, as many as were ordered
    #[arg(long, num_args = 1.., value_name = "ITEM")]
    fulfilled_with: Vec<ItemId>,
    /// A purchase: this is the upstream's session of it; it is followed to its end
    #[arg(long)]
    session: Option<SessionId>,
    /// A sellback: it was sold, for AMOUNT US dollars [default: the price just before the call]
    #[arg(long, num_args = 0..=1, value_name = "AMOUNT", value_parser = amount)]
    sold: Option<Option<Money>>,
    /// It bought or sold nothing, and ends failed; the partner reads the reason
    #[arg(long)]
    failed: bool,
    /// It bought or sold nothing, and is called again; if it did, it buys twice, or sells another copy
    #[arg(long)]
    retry: bool,
}

impl From<WantedFlags> for Wanted {
    fn from(flags: WantedFlags) -> Self {
        let fulfilled_with = Some(flags.fulfilled_with).filter(|items| !items.is_empty());
        Self {
            fulfilled_with,
            session: flags.session,
            sold: flags.sold.is_some(),
            amount: flags.sold.flatten(),
            failed: flags.failed,
            retry: flags.retry,
        }
    }
}

fn amount(text: &str) -> Result<Money, String> {
    Money::parse_usd(text).map_err(|error| error.to_string())
}

/// The risk that --retry takes without asking.
fn accepted(flags: &ResolveFlags) -> Option<CommandKind> {
    match (flags.accept_double_purchase, flags.accept_double_sale) {
        (true, _) => Some(CommandKind::Purchase),
        (false, true) => Some(CommandKind::Sellback),
        (false, false) => None,
    }
}

fn flag(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Purchase => "--accept-double-purchase",
        CommandKind::Sellback => "--accept-double-sale",
    }
}

pub async fn run(context: &Context, flags: ResolveFlags) -> Result<(), Failure> {
    let accepted = accepted(&flags);
    let said = Wanted::from(flags.wanted).said().map_err(Failure::usage)?;
    let ask = said == Said::Retry && accepted.is_none();
    if ask && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage(
            "--retry may buy, or sell, twice. On a terminal it asks for the id; anywhere else say --accept-double-purchase, or \
             --accept-double-sale of a sellback",
        ));
    }
    let Opened { setup, store, clock } = open(context).await?;
    let seen = find::order(&*store, &flags.which.id, flags.which.partner.as_ref()).await?;
    if let Some(other) = accepted.filter(|kind| *kind != seen.kind()) {
        return Err(Failure::usage(format!("{} is no {}: say {}", name(&seen), other.as_str(), flag(seen.kind()))));
    }
    let rules = roles::rules(&setup)(seen.partner());
    let word = Word { said, by: flags.who.by(), why: flags.who.why().to_owned() };
    // What cannot be done is said before anybody is asked.
    let resolved = match reviewing::check(&seen, &seen, &word, &rules, clock.now()) {
        Err(resolved) => resolved,
        Ok(_) if ask && !confirmed(&context.out, &seen, &mut io::stdin().lock()) => {
            return Err(Failure::failed("not confirmed; nothing was done"));
        }
        Ok(_) => {
            tell_of_unseen(&context.out, &seen, &word.said);
            reviewing::resolve(&*store, &*clock, &rules, &seen, &word).await?
        }
    };
    store.close().await;
    match resolved {
        Resolved::Done(order) => context.out.result(&reviewing::object(&order), || done(&order)),
        Resolved::Conflict(order, why) => Err(Failure::failed(format!("{} is {}: {why}", name(&order), order.state()))),
        Resolved::Refused(why) => Err(Failure::failed(format!("{} stays in review: {why}", name(&seen)))),
    }
}

/// Asks for the id: what is typed by habit is `y`.
fn confirmed(out: &Output, order: &AnyOrder, input: &mut impl BufRead) -> bool {
    let risk = match order.kind() {
        CommandKind::Purchase => "If its first call did buy, this buys twice.",
        CommandKind::Sellback => "If its first call did sell, this sells another copy where the user holds one.",
    };
    out.say(&format!(
        "The {} ({}, user {} of {}) is called again. {risk}\nType its id to go on:",
        name(order),
        printable(&what(order)),
        printable(order.user_id().as_str()),
        order.partner(),
    ));
    let mut line = String::new();
    // What cannot be read confirms nothing.
    input.read_line(&mut line).is_ok() && line.trim() == order.id().to_string()
}

/// A misspelt item id is taken as well as any: who resolves should notice.
fn tell_of_unseen(out: &Output, order: &AnyOrder, said: &Said) {
    let (Said::FulfilledWith(items), Some(purchase)) = (said, order.purchase()) else { return };
    let State::Review(review) = &purchase.state else { return };
    let looks = review.evidence.as_ref().map(|evidence| evidence.looks.as_slice()).unwrap_or_default();
    for item in items {
        if !looks.iter().any(|look| look.unexplained.contains(item)) {
            out.say(&format!("note: no look has shown {} as unexplained; your word is taken", printable(item.as_str())));
        }
    }
}

fn done(order: &AnyOrder) -> String {
    let state = order.state();
    let session = order.purchase().and_then(|purchase| purchase.state.session());
    let then = match (state, session) {
        (StateName::Pending, Some(session)) => format!(" again; session {session} is followed to its end"),
        (StateName::Accepted, _) => " again; a worker calls it next".into(),
        (state, _) if state.is_final() => "; the partner is told".into(),
        (_, _) => String::new(),
    };
    format!("{} is {state}{}", name(order), printable(&then))
}

#[cfg(test)]
mod tests {
    use clawback_domain::{PartnerId, Time, command::parse_purchase, purchase::Purchase, trace::TraceContext};

    use super::*;

    #[test]
    fn only_the_orders_own_id_confirms() {
        let body = br#"{"request_id":"r","user_id":"u","pack_id":"p","amount":1}"#;
        let trace = TraceContext::start(uuid::Uuid::from_u128(1), 1);
        let partner = PartnerId::new("acme").unwrap();
        let order = Purchase::accept(partner, parse_purchase(None, body).unwrap(), Time::UNIX_EPOCH, trace).into();
        let out = Output { json: false };
        let id = AnyOrder::id(&order).to_string();
        for (typed, expected) in
            [(format!("{id}\n"), true), (format!(" {id} "), true), ("y\n".into(), false), (String::new(), false)]
        {
            assert_eq!(confirmed(&out, &order, &mut typed.as_bytes()), expected, "{typed:?}");
        }
    }
}
