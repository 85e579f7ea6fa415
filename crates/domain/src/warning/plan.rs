//! Which rows a pull gets, after a look has told its expiry.
//!
//! Planning again what is planned changes nothing. Whether a lead time is *past* is asked at the moment from which we could have
//! known: when this expiry was first read, when the item was seen again, when the lead time was configured. What became past since
//! then was missed, not past: it stays planned and the digest catches up.

use super::{
    row::{Lead, Row, RowState, Sale, Skipped, Watched},
    rules::{Leads, WarningRules},
};
use crate::{
    PullId, Time,
    item::{Expiry, Standing},
};

/// What planning comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// No look has told the expiry yet: there is nothing to plan, and the pull stays due for a look.
    NotRead,
    Changes(Vec<Change>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is no row of this pull and lead yet. It may begin as skipped, so that the reason can be shown.
    Insert(Row),
    /// There is one that was not sent: it gets this expiry and this state.
    Update(Row),
}

impl Change {
    pub fn row(&self) -> &Row {
        match self {
            Change::Insert(row) | Change::Update(row) => row,
        }
    }
}

/// What must change in the `rows` of `watched`. `read_at` is when its present expiry was first read.
pub fn plan(watched: &Watched, read_at: Time, rules: &WarningRules, rows: &[Row], now: Time) -> Plan {
    let leads = rules.leads(&watched.pack);
    let rows: Vec<&Row> = rows.iter().filter(|row| row.pull == watched.pull).collect();
    let expiry = match watched.sight.expiry {
        Expiry::NotRead => return Plan::NotRead,
        Expiry::Never => return Plan::Changes(skip_all(&rows, Skipped::NoExpiry)),
        Expiry::At(expiry) => expiry,
    };
    match watched.sale {
        Sale::Sold => return Plan::Changes(skip_all(&rows, Skipped::Sold)),
        Sale::None | Sale::UnderWay => {}
    }
    match watched.sight.standing() {
        // Its rows wait: it may be seen again.
        Standing::Gone => return Plan::Changes(Vec::new()),
        Standing::Sold => return Plan::Changes(skip_all(&rows, Skipped::Sold)),
        Standing::NotSeen | Standing::Held | Standing::Missing => {}
    }
    let changes = skip_removed(&rows, leads).chain(Planning { expiry, read_at, leads, rows: &rows, now }.changes(watched.pull));
    Plan::Changes(changes.collect())
}

fn skip_all(rows: &[&Row], why: Skipped) -> Vec<Change> {
    rows.iter().filter(|row| row.is_planned()).map(|row| Change::Update(skipped(row, why))).collect()
}

fn skip_removed(rows: &[&Row], leads: &Leads) -> impl Iterator<Item = Change> {
    let removed = rows.iter().filter(|row| row.is_planned() && !leads.contains(row.lead));
    removed.map(|row| Change::Update(skipped(row, Skipped::LeadRemoved)))
}

fn skipped(row: &Row, why: Skipped) -> Row {
    Row { state: RowState::Skipped(why), ..row.clone() }
}

struct Planning<'a> {
    expiry: Time,
    read_at: Time,
    leads: &'a Leads,
    rows: &'a [&'a Row],
    now: Time,
}

/// What is to be done with a lead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// As it stands: sent, or decided for this expiry.
    Settled,
    /// Planned for this expiry or another one, and still to come or missed.
    Planned,
    /// To be planned: its moment is to come.
    Ahead,
    /// Not planned so far, and its moment is past.
    Past,
}

impl Planning<'_> {
    fn changes(&self, pull: PullId) -> Vec<Change> {
        let nearest = self.nearest_past();
        self.leads.iter().filter_map(|lead| self.change(pull, lead, nearest)).collect()
    }

    fn row(&self, lead: Lead) -> Option<&Row> {
        self.rows.iter().copied().find(|row| row.lead == lead)
    }

    fn change(&self, pull: PullId, lead: Lead, nearest: Option<Lead>) -> Option<Change> {
        let state = match self.wanted(lead) {
            Wanted::Settled => return None,
            Wanted::Planned | Wanted::Ahead | Wanted::Past if self.expiry <= self.now => RowState::Skipped(Skipped::Expired),
            Wanted::Planned | Wanted::Ahead => RowState::Planned,
            Wanted::Past if nearest == Some(lead) => RowState::Planned,
            Wanted::Past => RowState::Skipped(Skipped::PastWhenRead),
        };
        let wanted = Row { pull, lead, expiry: self.expiry, state };
        match self.row(lead) {
            None => Some(Change::Insert(wanted)),
            Some(row) if *row == wanted => None,
            Some(_) => Some(Change::Update(wanted)),
        }
    }

    fn wanted(&self, lead: Lead) -> Wanted {
        let known_since = match self.row(lead).map(|row| (row.state, row.expiry == self.expiry)) {
            Some((RowState::Sent, _)) => return Wanted::Settled,
            // A date that moves by a little just when it is due must not lose the warning.
            Some((RowState::Planned, _)) => return Wanted::Planned,
            Some((RowState::Skipped(why), true)) if !why.may_return() => return Wanted::Settled,
            Some((RowState::Skipped(_), true)) => self.now,
            Some((RowState::Skipped(_), false)) => self.read_at,
            None if self.rows.iter().any(|row| row.expiry == self.expiry) => self.now,
            None => self.read_at,
        };
        if lead.before(self.expiry) > known_since { Wanted::Ahead } else { Wanted::Past }
    }

    /// The lead that goes out though its moment was past: the nearest, if nothing is planned any more and no nearer one was sent.
    fn nearest_past(&self) -> Option<Lead> {
        let planned = |lead| matches!(self.wanted(lead), Wanted::Planned | Wanted::Ahead);
        if self.leads.iter().any(planned) {
            return None;
        }
        let nearest = self.leads.iter().rev().find(|lead| lead.before(self.expiry) <= self.now)?;
        let nearer_was_sent = self.rows.iter().any(|row| row.state == RowState::Sent && row.lead < nearest);
        (self.wanted(nearest) == Wanted::Past && !nearer_was_sent).then_some(nearest)
    }
}
