//! The second act: the stand-in's clock is moved by days, past every warning and every window that shuts in the first week.
//!
//! Time jumps to shortly before something is planned, waits there until it has happened, and jumps on. What is on the way (users wake
//! early to see how large the crowd is) is overdue after a jump and done before the moment.

use std::time::{Duration, Instant};

use clawback_domain::{
    Clock, ItemId, PartnerId, PullId, Time, UserId,
    clock::after,
    item::{Expiry, Pull},
};
use clawback_store::{Warning, WarningFilter, WarningState};

use super::{
    plant::{LOSES, Plant, RATE, SELLS, partner_ids},
    tell::days as tell,
    workload::Workload,
};
use crate::{failure::Failure, output::Output};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What was bought in the first act expires at most this far apart.
const CLUSTER: Duration = Duration::from_secs(120);
/// The rules begin with a warning half a minute before it is due; this is a little later, so that it begins at once.
const AHEAD: Duration = Duration::from_secs(25);
/// What is due so shortly after another warning has begun by then, too.
const TOGETHER: Duration = Duration::from_secs(4);
/// Before a window shuts: the last user's place in the span of automatic sales has come, and five minutes are left to sell.
const SELLING: Duration = Duration::from_secs(10 * 60);
/// After it: that it shut unsold is said within a digest.
const CLOSING: Duration = Duration::from_secs(15 * 60);

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For what takes a second. Beyond it time goes on, and what has not happened is counted.
const PATIENCE: Duration = Duration::from_secs(20);
const MOST: u32 = 100_000;

/// An item that a user sold by another way, and when.
pub struct Elsewhere {
    pub partner: PartnerId,
    pub user: UserId,
    pub pull: PullId,
    pub item: ItemId,
    pub name: String,
    pub at: Time,
}

pub struct Walk<'p> {
    plant: &'p Plant,
    out: Output,
    began: Time,
    patience: Duration,
    /// What of the store's events was counted, and how many they were.
    position: i64,
    stored: usize,
    /// Warnings and windows before these moments are behind us.
    warned: Time,
    shut: Time,
    pub elsewhere: Option<Elsewhere>,
}

impl<'p> Walk<'p> {
    /// `began`: before the first purchase.
    pub fn new(plant: &'p Plant, workload: &Workload, out: Output, began: Time) -> Self {
        let patience = PATIENCE + SECOND * (workload.asked.len() as u32 / RATE);
        Self { plant, out, began, patience, position: 0, stored: 0, warned: began, shut: began, elsewhere: None }
    }

    /// # Errors
    /// The store's, or the stand-in's.
    pub async fn through_a_week(&mut self, workload: &Workload) -> Result<(), Failure> {
        self.say(tell::OPENING)?;
        self.read_inventories(workload).await?;
        self.sell_elsewhere().await?;
        loop {
            match (self.next_warning(self.end()).await?, self.next_window().await?) {
                (Some(warning), Some(window)) if warning.row.moment() < window => self.warn(warning.row.moment()).await?,
                (_, Some(window)) => self.shut(window).await?,
                (Some(warning), None) => self.warn(warning.row.moment()).await?,
                (None, None) => return self.catch_up().await,
            }
        }
    }

    /// A little after the windows of seven days.
    fn end(&self) -> Time {
        after(self.began, 7 * DAY + 30 * MINUTE)
    }

    fn say(&self, line: &str) -> Result<(), Failure> {
        if self.out.json { Ok(()) } else { self.out.line(line) }
    }

    /// A minute after the last fulfilment everybody's inventory is read, and with it when each window shuts.
    async fn read_inventories(&mut self, workload: &Workload) -> Result<(), Failure> {
        let at = after(self.plant.clock.now(), MINUTE + SECOND);
        self.plant.advance_to(at).await?;
        let (mut items, mut shutting) = (0, 0);
        for (partner, user) in workload.users() {
            let read = self.until(async || {
                let watching = self.plant.store.watching(partner, user).await?;
                Ok(watching.is_none_or(|watching| !watching.user.wants_sync()))
            });
            read.await?;
            let pulls = self.plant.store.pulls_of_user(partner, user).await?;
            items += pulls.len();
            shutting += pulls.iter().filter(|pull| matches!(pull.sight.expiry, Expiry::At(_))).count();
        }
        self.say(&tell::inventories(self.since(at), items, shutting))
    }

    /// The dearest item of the last windows of the week: none of its warnings has come yet.
    async fn sell_elsewhere(&mut self) -> Result<(), Failure> {
        let partner = PartnerId::new(LOSES).expect("the demo's names are short");
        let now = self.plant.clock.now();
        let pulls = self.plant.store.expiring(&partner, now, self.end(), MOST).await?;
        let last = pulls.last().and_then(expiry);
        let together = pulls.into_iter().filter(|pull| expiry(pull).map(|at| after(at, CLUSTER)) >= last);
        let Some(pull) = together.max_by_key(|pull| pull.sight.price.map(|price| price.millionths())) else { return Ok(()) };
        if self.plant.sell_elsewhere(&partner, &pull.item.item_id) {
            let name = pull.item.name.unwrap_or_else(|| pull.item.item_id.to_string());
            let gone = Elsewhere { partner, user: pull.user_id, pull: pull.id, item: pull.item.item_id, name, at: now };
            self.say(&tell::elsewhere(self.since(now), &gone))?;
            self.elsewhere = Some(gone);
        }
        Ok(())
    }

    /// Past the warnings that are due at about `moment`.
    async fn warn(&mut self, moment: Time) -> Result<(), Failure> {
        let before = self.plant.events.look(|heard| (heard.warnings.len(), heard.asked.is_some()));
        let until = after(moment, CLUSTER);
        while let Some(next) = self.next_warning(until).await? {
            let due = next.row.moment();
            self.plant.advance_to(due - AHEAD).await?;
            let horizon = after(due, TOGETHER);
            self.until(async || Ok(self.next_warning(horizon).await?.is_none())).await?;
            self.warned = horizon;
        }
        self.warned = until;
        self.catch_up().await?;
        let at = self.since(moment);
        let line = self.plant.events.look(|heard| tell::warnings(at, &heard.warnings[before.0..]));
        self.say(&line)?;
        match self.plant.events.look(|heard| heard.asked.clone()) {
            Some(asked) if !before.1 => {
                let sellback = asked.sellback;
                self.until(async || {
                    let order = self.plant.store.order(sellback).await?;
                    Ok(order.is_some_and(|order| order.state().is_announced()))
                })
                .await?;
                self.catch_up().await?;
                let sold = self.plant.store.sellback(sellback).await?;
                self.say(&tell::asked(at, &asked, sold.as_ref().map(|sellback| &sellback.state)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Past the windows that shut at about `moment`, and the sales before it.
    async fn shut(&mut self, moment: Time) -> Result<(), Failure> {
        let (sold, closed) = self.plant.events.look(|heard| (heard.sold.len(), heard.closed.len()));
        let seller = PartnerId::new(SELLS).expect("the demo's names are short");
        let selling = moment - SELLING;
        self.plant.advance_to(selling).await?;
        self.until(async || Ok(self.shutting(&seller, moment, 1).await?.is_empty())).await?;
        self.catch_up().await?;
        self.say_if_any(self.plant.events.look(|heard| tell::sold(self.since(selling), &heard.sold[sold..])))?;

        let mut unsold = 0;
        for partner in partner_ids() {
            unsold += self.shutting(&partner, moment, MOST).await?.iter().filter(|pull| !self.is_elsewhere(pull.id)).count();
        }
        let closing = after(moment, CLUSTER + CLOSING);
        self.plant.advance_to(closing).await?;
        self.until(async || Ok(self.plant.events.look(|heard| heard.closed.len() >= closed + unsold))).await?;
        self.shut = after(moment, CLUSTER);
        self.catch_up().await?;
        self.say_if_any(self.plant.events.look(|heard| tell::closed(self.since(closing), heard.closed.len() - closed)))
    }

    fn say_if_any(&self, line: Option<String>) -> Result<(), Failure> {
        line.map_or(Ok(()), |line| self.say(&line))
    }

    /// What is not sold and whose window shuts at about `moment`.
    async fn shutting(&self, partner: &PartnerId, moment: Time, limit: u32) -> Result<Vec<Pull>, Failure> {
        Ok(self.plant.store.expiring(partner, moment, after(moment, CLUSTER), limit).await?)
    }

    fn is_elsewhere(&self, pull: PullId) -> bool {
        self.elsewhere.as_ref().is_some_and(|gone| gone.pull == pull)
    }

    /// The next that is planned, but for what can no more be warned of.
    async fn next_warning(&self, until: Time) -> Result<Option<Warning>, Failure> {
        let filter = WarningFilter {
            state: Some(WarningState::Planned),
            from: Some(self.warned),
            until: Some(until),
            limit: 32,
            ..WarningFilter::default()
        };
        let warnings = self.plant.store.warnings(filter).await?;
        Ok(warnings.into_iter().find(|warning| !self.is_elsewhere(warning.row.pull)))
    }

    /// When the next window shuts of what is not sold.
    async fn next_window(&self) -> Result<Option<Time>, Failure> {
        let mut next = Vec::new();
        for partner in partner_ids() {
            next.extend(self.plant.store.expiring(&partner, self.shut, self.end(), 1).await?.first().and_then(expiry));
        }
        Ok(next.into_iter().min())
    }

    /// Waits until every event that is stored has arrived, or long enough.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            let events = self.plant.store.events(None, self.position, 1000).await?;
            let Some(last) = events.last() else { break };
            self.position = last.position;
            self.stored += events.len();
        }
        self.plant.events.wait_for(self.stored, self.patience).await;
        Ok(())
    }

    /// Waits until it is so, or long enough.
    async fn until(&self, mut is_so: impl AsyncFnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience;
        while !is_so().await? && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn since(&self, at: Time) -> Duration {
        clawback_domain::clock::until(self.began, at)
    }
}

fn expiry(pull: &Pull) -> Option<Time> {
    match pull.sight.expiry {
        Expiry::At(expiry) => Some(expiry),
        Expiry::NotRead | Expiry::Never => None,
    }
}
