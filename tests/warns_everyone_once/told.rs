//! The audit: what partners were told, held against what must have been told.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use clawback_domain::{
    PullId, Time,
    item::{Expiry, Pull},
    warning::{Lead, RowState, Skipped},
};
use clawback_store::{Users as _, Warning, WarningFilter};
use clawback_tests::Ledger;

use super::{
    days::{Days, Night},
    fate::{Fate, Life},
    heard::{EARLIEST, Heard, Telling, leads},
    users::Users,
};

/// After how many days items of the sandbox's production mode expire.
const WINDOWS: [i64; 3] = [3, 7, 14];

#[derive(Default)]
pub struct Tally {
    pulls: usize,
    events: usize,
    on_time: usize,
    late: usize,
    closed: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pulls, events, on_time, late, closed, skipped } = self;
        write!(
            f,
            "{pulls} pulls: {on_time} lead times told on time, {late} late, {closed} windows closed, {events} events; not told: {skipped:?}"
        )
    }
}

impl Tally {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::OnTime => self.on_time += 1,
            Fate::Late => self.late += 1,
            Fate::Not(why) => *self.skipped.entry(why.as_str()).or_default() += 1,
        }
    }

    /// An error when one of the fates befell nobody: then nothing was tested of it.
    pub fn is_worth_something(&self) -> Result<()> {
        let all = [Skipped::Sold, Skipped::Superseded, Skipped::Expired, Skipped::OptedOut, Skipped::NoExpiry];
        let none: Vec<_> = all.into_iter().filter(|why| !self.skipped.contains_key(why.as_str())).collect();
        ensure!(none.is_empty() && self.late > 0 && self.on_time > 0 && self.closed > 0, "{none:?} befell nobody: {self}");
        Ok(())
    }
}

pub async fn audit(days: &Days, users: &Users, night: &Night) -> Result<Tally> {
    let heard = Heard::read(days).await?;
    let ledger = days.stage.upstream().ledger().await?;
    let lives = lives(&ledger, &users.pulls(days).await?, users)?;
    let mut rows: BTreeMap<_, _> = all_rows(days).await?.into_iter().map(|row| ((row.row.pull, row.row.lead), row)).collect();
    let leads = leads();
    let mut tally = Tally { pulls: lives.len(), events: heard.events, ..Tally::default() };
    let mut told = 0;
    for (pull, life) in &lives {
        for lead in leads {
            let fate = life.fate(lead, &leads, night);
            let tellings = heard.expiring.get(&(pull.to_string(), lead)).map_or(&[][..], Vec::as_slice);
            let row = rows.remove(&(*pull, lead));
            let case = || format!("{lead} of {pull}: {life:?}, {fate:?}, told: {tellings:?}, stored: {row:?}");
            befell(fate, life, lead, tellings, row.as_ref()).with_context(case)?;
            told += tellings.len();
            tally.add(fate);
        }
        let closed = heard.expired.get(&pull.to_string()).map_or(&[][..], Vec::as_slice);
        let right = match life.closes() {
            None => closed.is_empty(),
            Some(expiry) => closed.len() == 1 && closed[0].at >= expiry,
        };
        ensure!(right, "the window of {pull}: {life:?}, told: {closed:?}");
        tally.closed += closed.len();
    }
    ensure!(rows.is_empty(), "warnings of nothing: {rows:?}");
    let all: usize = heard.expiring.values().map(Vec::len).sum();
    ensure!(told == all, "{all} were told, {told} of them of what was bought");
    Ok(tally)
}

/// Whether one lead time of one pull went as it must.
fn befell(fate: Fate, life: &Life, lead: Lead, tellings: &[Telling], row: Option<&Warning>) -> Result<()> {
    let state = row.map(|row| row.row.state);
    match fate {
        // Other reasons are as good where the user wants none.
        Fate::Not(_) if life.opted_out => ensure!(matches!(state, None | Some(RowState::Skipped(_))), "the row"),
        Fate::Not(Skipped::NoExpiry) => ensure!(state.is_none(), "the row"),
        Fate::Not(why) => ensure!(state == Some(RowState::Skipped(why)), "the row"),
        Fate::OnTime | Fate::Late => ensure!(state == Some(RowState::Sent), "the row"),
    }
    match (fate, tellings) {
        (Fate::Not(_), []) => Ok(()),
        (Fate::OnTime | Fate::Late, [telling]) => is_as_it_must(fate, life, lead, telling, row),
        _ => anyhow::bail!("told {} times", tellings.len()),
    }
}

fn is_as_it_must(fate: Fate, life: &Life, lead: Lead, telling: &Telling, row: Option<&Warning>) -> Result<()> {
    let row = row.context("what was told is stored")?;
    let event = row.event.map(|event| event.to_string());
    ensure!(event.as_ref() == Some(&telling.event), "another event");
    ensure!((row.late, row.verified) == (telling.late, telling.verified), "other words");
    ensure!(telling.verified, "not verified");
    let expiry = life.expiry.context("it has one")?;
    let (moment, latest) = (lead.before(expiry), lead.before(expiry) + TimeDelta::from_std(lead.tolerance())?);
    match fate {
        Fate::Late => ensure!(telling.late && latest < telling.at && telling.at < expiry, "not late"),
        _ => ensure!(!telling.late && moment - EARLIEST <= telling.at && telling.at <= latest, "not on time"),
    }
    Ok(())
}

/// Every pull that was bought, by the ledger; what was bought and what was drawn must be the same.
fn lives(ledger: &Ledger, pulls: &[Pull], users: &Users) -> Result<BTreeMap<PullId, Life>> {
    ensure!(ledger.bought_twice().is_empty() && ledger.sold_twice().is_empty(), "bought or sold twice");
    let time = |text: &str| text.parse::<Time>().context("the ledger's times are times");
    let mut bought = BTreeMap::new();
    for purchase in &ledger.purchases {
        for item in &purchase.items {
            bought.insert((purchase.user_id.as_str(), item.item_id.as_str()), time(&purchase.purchased_at)?);
        }
    }
    let mut sold = BTreeMap::new();
    for sale in &ledger.sellbacks {
        sold.insert((sale.user_id.as_str(), sale.item_id.as_str()), time(&sale.sold_at)?);
    }
    let mut lives = BTreeMap::new();
    for pull in pulls {
        let key = (pull.user_id.as_str(), pull.item.item_id.as_str());
        let bought_at = bought.remove(&key).with_context(|| format!("{key:?} was never bought, or is there twice"))?;
        let expiry = expiry(pull, bought_at)?;
        let opted_out = users.opted_out.contains(&pull.user_id);
        lives.insert(pull.id, Life { bought_at, expiry, sold_at: sold.remove(&key), opted_out });
    }
    ensure!(bought.is_empty() && sold.is_empty(), "not known: bought {bought:?}, sold {sold:?}");
    Ok(lives)
}

/// As it was read, if that can be.
fn expiry(pull: &Pull, bought_at: Time) -> Result<Option<Time>> {
    let Expiry::At(expiry) = pull.sight.expiry else {
        ensure!(pull.sight.expiry == Expiry::Never, "never read: {pull:?}");
        return Ok(None);
    };
    let can_be = WINDOWS.iter().any(|days| (expiry - bought_at - TimeDelta::days(*days)).abs() < TimeDelta::seconds(5));
    ensure!(can_be, "{}, bought at {bought_at}, expires at {expiry}", pull.id);
    Ok(Some(expiry))
}

async fn all_rows(days: &Days) -> Result<Vec<Warning>> {
    Ok(days.stage.store.warnings(WarningFilter { limit: u32::MAX, ..WarningFilter::default() }).await?)
}
