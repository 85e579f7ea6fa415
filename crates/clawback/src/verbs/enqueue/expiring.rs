//! All that a user holds and that expires soon, sold back: a command per pull.
//!
//! A sale cannot be taken back, so what it comes to is told first and confirmed. The request ids follow from the pulls: a run that broke
//! off, or one that nobody remembers, is repeated by running it again.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use clawback_domain::{
    Currency, Money, Time, UserId,
    clock::{after, until},
    item::{Expiry, Pull, Standing},
    pause::CommandKind,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    CommandFlags,
    door::{Door, Handed},
};
use crate::{
    accepting::Command,
    config::{Needs, show_duration},
    context::Context,
    failure::Failure,
    kind::price,
    output::{Output, printable},
};

pub struct Wanted {
    pub within: Duration,
    pub prefix: String,
    /// Confirmed already.
    pub yes: bool,
    /// Of every command.
    pub fields: Map<String, Value>,
}

pub async fn run(context: &Context, wanted: Wanted, flags: CommandFlags) -> Result<(), Failure> {
    let ask = !wanted.yes && !flags.dry_run;
    if ask && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage(
            "--expiring-within sells many items. On a terminal it asks how many; anywhere else say --yes, or --dry-run",
        ));
    }
    let user = UserId::new(&flags.user).map_err(|error| Failure::usage(format!("--user {error}")))?;
    let setup = context.setup(Needs::NOTHING)?;
    let partner = context.partner(&setup, flags.partner.as_ref())?;
    let store = context.store(&setup).await?;
    let now = context.clock(&setup, &*store).await?.now();
    let mut pulls = store.pulls_of_user(&partner.id, &user).await?;
    store.close().await;
    pulls.retain(|pull| expires(pull, now, wanted.within));
    let commands = pulls.iter().map(|pull| command(&wanted, &flags, pull)).collect::<Result<Vec<_>, _>>()?;
    let preview = Preview::of(&pulls, &user);
    if flags.dry_run || commands.is_empty() {
        let object = json!({ "dry_run": flags.dry_run, "preview": preview });
        return context.out.result(&object, || preview.text(now));
    }
    context.out.say(&preview.text(now));
    if ask && !confirmed(&context.out, commands.len(), &mut io::stdin().lock()) {
        return Err(Failure::failed("not confirmed; nothing was sold"));
    }
    let door = Door::open(context, &setup, partner, flags.who).await?;
    let counts = hand_in(&door, commands).await;
    door.close().await;
    tell(&context.out, &preview, &counts?)
}

/// Whether it is held and its window shuts within `within`.
fn expires(pull: &Pull, now: Time, within: Duration) -> bool {
    let soon = matches!(pull.sight.expiry, Expiry::At(at) if (now..=after(now, within)).contains(&at));
    soon && pull.standing() == Standing::Held
}

fn command(wanted: &Wanted, flags: &CommandFlags, pull: &Pull) -> Result<Command, Failure> {
    let mut fields = wanted.fields.clone();
    fields.insert("pull_id".into(), pull.id.to_string().into());
    flags.command_named(CommandKind::Sellback, format!("{}:{}", wanted.prefix, pull.id), fields)
}

/// What selling all of it comes to, as far as the looks have told.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Preview {
    user_id: UserId,
    pulls: usize,
    /// `null` when it is more than money can say.
    total: Option<Money>,
    currency: &'static str,
    without_price: usize,
    /// When the oldest of the prices was read.
    oldest_price_at: Option<Time>,
    first_expires_at: Option<Time>,
}

impl Preview {
    fn of(pulls: &[Pull], user: &UserId) -> Self {
        let prices: Vec<_> = pulls.iter().filter_map(|pull| pull.sight.price).collect();
        let expiry = |pull: &Pull| if let Expiry::At(at) = pull.sight.expiry { Some(at) } else { None };
        Self {
            user_id: user.clone(),
            pulls: pulls.len(),
            total: prices.iter().try_fold(Money::usd(0), |sum, price| sum.checked_add(*price)),
            currency: Currency::default().code(),
            without_price: pulls.len() - prices.len(),
            oldest_price_at: pulls.iter().filter(|pull| pull.sight.price.is_some()).filter_map(|pull| pull.sight.seen_at).min(),
            first_expires_at: pulls.iter().filter_map(expiry).min(),
        }
    }

    fn text(&self, now: Time) -> String {
        let user = printable(self.user_id.as_str());
        let Some(first) = self.first_expires_at else { return format!("nothing that {user} holds expires by then") };
        let total = self.total.map_or_else(|| "too much to say".into(), price);
        let age = self.oldest_price_at.map(|at| Duration::from_secs(until(at, now).as_secs()));
        let age = age.map(|age| format!(", the oldest price read {} ago", show_duration(age))).unwrap_or_default();
        let unpriced = match self.without_price {
            0 => String::new(),
            count => format!("; {count} without a price"),
        };
        format!(
            "items of {user}: {}, the first expires at {}; in all {total}{age}{unpriced}",
            self.pulls,
            first.format("%Y-%m-%d %H:%M:%SZ")
        )
    }
}

/// Asks for the number: what is typed by habit is `y`.
fn confirmed(out: &Output, count: usize, input: &mut impl BufRead) -> bool {
    out.say("They are sold back; that cannot be undone. Type how many items to go on:");
    let mut line = String::new();
    // What cannot be read confirms nothing.
    input.read_line(&mut line).is_ok() && line.trim() == count.to_string()
}

type Counts = BTreeMap<Handed, u64>;

async fn hand_in(door: &Door, commands: Vec<Command>) -> Result<Counts, Failure> {
    let mut counts = Counts::new();
    for command in commands {
        *counts.entry(door.hand(command).await?).or_insert(0) += 1;
    }
    Ok(counts)
}

fn tell(out: &Output, preview: &Preview, counts: &Counts) -> Result<(), Failure> {
    let count = |handed: Handed| counts.get(&handed).copied().unwrap_or_default();
    let object = json!({
        "preview": preview, "published": count(Handed::Published), "accepted": count(Handed::Accepted),
        "repeats": count(Handed::Repeat), "conflicts": count(Handed::Conflict),
    });
    out.result(&object, || {
        let parts: Vec<_> = counts.iter().map(|(handed, count)| format!("{count} {}", handed.as_str())).collect();
        format!("{} sellbacks: {}", preview.pulls, parts.join(", "))
    })?;
    match count(Handed::Conflict) {
        0 => Ok(()),
        conflicts => Err(Failure::failed(format!(
            "{conflicts} of them were asked for before in other words (another price or time): say another --prefix"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clawback_domain::{
        ItemId, PackId, PartnerId, PullId, PurchaseId, SellbackId,
        item::{Item, PullSale, Sight},
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn pull(position: u32, expiry: Expiry, price: Option<Money>) -> Pull {
        let purchase = PurchaseId(uuid::Uuid::from_u128(5));
        let seen_at = Some(after(Time::UNIX_EPOCH, HOUR * position));
        Pull {
            id: PullId::of(purchase, position),
            purchase,
            position,
            partner: PartnerId::new("acme").unwrap(),
            user_id: UserId::new("kim").unwrap(),
            pack_id: PackId::new("rookie").unwrap(),
            item: Item::bare(ItemId::new("card").unwrap()),
            created_at: Time::UNIX_EPOCH,
            sight: Sight { looked_at: seen_at, seen_at, expiry, price, ..Sight::default() },
            sale: None,
            told: Default::default(),
        }
    }

    fn in_hours(hours: u32) -> Expiry {
        Expiry::At(after(Time::UNIX_EPOCH, HOUR * hours))
    }

    #[test]
    fn what_is_held_and_expires_in_the_span_is_meant_and_nothing_else() {
        let now = after(Time::UNIX_EPOCH, HOUR * 10);
        let is = |pull: &Pull| expires(pull, now, HOUR * 24);
        for (expiry, expected) in [
            (in_hours(10), true),
            (in_hours(34), true),
            (in_hours(9), false),
            (in_hours(35), false),
            (Expiry::Never, false),
            (Expiry::NotRead, false),
        ] {
            assert_eq!(is(&pull(1, expiry, None)), expected, "{expiry:?}");
        }
        let held = pull(1, in_hours(12), None);
        let sale = Some(PullSale { by: SellbackId(uuid::Uuid::nil()), at: now });
        assert!(!is(&Pull { sale, ..held.clone() }), "sold");
        let missing_since = Some(now);
        assert!(!is(&Pull { sight: Sight { missing_since, ..held.sight }, ..held }), "the last look did not show it");
    }

    #[test]
    fn the_preview_tells_sum_age_and_what_is_not_known() {
        let user = UserId::new("kim").unwrap();
        let usd = |dollars: i64| Some(Money::usd(dollars * 1_000_000));
        let pulls = [pull(1, in_hours(30), usd(8)), pull(2, in_hours(20), usd(3)), pull(0, in_hours(40), None)];
        let preview = Preview::of(&pulls, &user);
        assert_eq!(
            preview.text(after(Time::UNIX_EPOCH, HOUR * 10)),
            "items of kim: 3, the first expires at 1970-01-01 20:00:00Z; in all 11.00 USD, the oldest price read 9h ago; 1 without a \
             price"
        );
        assert_eq!((preview.total, preview.without_price), (usd(11), 1));
        assert_eq!(Preview::of(&[], &user).text(Time::UNIX_EPOCH), "nothing that kim holds expires by then");
    }

    #[test]
    fn only_the_number_confirms() {
        let out = Output { json: false };
        for (typed, expected) in [("12\n", true), (" 12 ", true), ("y\n", false), ("", false), ("1\n", false)] {
            assert_eq!(confirmed(&out, 12, &mut typed.as_bytes()), expected, "{typed:?}");
        }
    }
}
