//! Users with their warnings, and how a turn of theirs ends.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use clawback_domain::{
    EventId, PartnerId, PullId, Time, UserId,
    clock::after,
    event::Event,
    item::{Expiry, Pull},
    planted::{Bug, planted},
    poll::next_nudge_of_user,
    user::{SYNC_AFTER, Settling, User, Watching},
    warning::{Change, Digested, Lead, Row, RowState, UserSettings},
};

use super::{Committed, Memory, Tables, listing::Shelf, rules};
use crate::{DueUser, StoreError, Users, Warning, WarningFilter, WarningState};

type Key = (PartnerId, UserId);

#[derive(Default)]
pub(super) struct People(BTreeMap<Key, Person>);

#[derive(Clone)]
struct Person {
    user: User,
    nudges: u32,
    warnings: BTreeMap<(PullId, Lead), Warning>,
}

impl Person {
    fn new((partner, id): Key) -> Self {
        let user = User {
            partner,
            id,
            settings: UserSettings::default(),
            sync_wanted: 0,
            synced: 0,
            wanted_at: None,
            version: 0,
            sequence: 0,
            due_at: None,
        };
        Self { user, nudges: 0, warnings: BTreeMap::new() }
    }

    /// What is planned, unless it was sent.
    fn plan(&mut self, change: &Change, at: Time) {
        let row = change.row().clone();
        let planned = Warning {
            partner: self.user.partner.clone(),
            user: self.user.id.clone(),
            row,
            event: None,
            late: false,
            verified: false,
            updated_at: at,
        };
        let known = self.warnings.get_mut(&(planned.row.pull, planned.row.lead));
        match (change, known) {
            (Change::Insert(_), None) => drop(self.warnings.insert((planned.row.pull, planned.row.lead), planned)),
            (Change::Update(_), Some(known)) if known.row.state != RowState::Sent => *known = planned,
            (Change::Insert(_), Some(_)) | (Change::Update(_), None | Some(_)) => {}
        }
    }

    /// Sends what is planned still, of pulls that are neither sold nor missing; returns what was sent.
    fn send(&mut self, digest: &Digested, event: EventId, shelf: &Shelf, at: Time) -> BTreeSet<(PullId, Lead)> {
        let mut sent = BTreeSet::new();
        for (row, pull) in &digest.items {
            let is_there = |pull: &&Pull| {
                (pull.sale.is_none() || planted(Bug::SoldIsWarnedOf))
                    && (pull.sight.missing_since.is_none() || planted(Bug::UnseenIsWarnedOf))
            };
            let is_held = shelf.pull(pull.purchase, pull.position).filter(is_there).is_some();
            let is_planned = |warning: &&mut Warning| warning.row.is_planned() || planted(Bug::TurnsOverlap);
            let planned = self.warnings.get_mut(&(row.pull, row.lead)).filter(is_planned);
            let Some(warning) = planned.filter(|_| is_held) else { continue };
            warning.row.state = RowState::Sent;
            warning.event = Some(event);
            (warning.late, warning.verified, warning.updated_at) = (digest.late, digest.verified, at);
            sent.insert((row.pull, row.lead));
        }
        sent
    }
}

impl People {
    fn get(&self, partner: &PartnerId, user: &UserId) -> Option<&Person> {
        self.0.get(&(partner.clone(), user.clone()))
    }

    fn person(&mut self, partner: &PartnerId, user: &UserId) -> &mut Person {
        let key = (partner.clone(), user.clone());
        self.0.entry(key.clone()).or_insert_with(|| Person::new(key))
    }

    /// Of a purchase that drew something: its user wants a look.
    pub(super) fn wish(&mut self, partner: &PartnerId, user: &UserId, at: Time) {
        let User { sync_wanted, wanted_at, due_at, .. } = &mut self.person(partner, user).user;
        *sync_wanted += 1;
        *wanted_at = wanted_at.or(Some(at));
        *due_at = sooner(*due_at, after(at, SYNC_AFTER));
    }

    /// The warnings of a pull.
    pub(super) fn forget(&mut self, pull: &Pull) {
        let person = self.0.get_mut(&(pull.partner.clone(), pull.user_id.clone()));
        person.into_iter().for_each(|person| person.warnings.retain(|(of, _), _| *of != pull.id));
    }

    fn set(&mut self, partner: &PartnerId, user: &UserId, settings: UserSettings, now: Time) {
        let user = &mut self.person(partner, user).user;
        user.settings = settings;
        user.version += 1;
        user.due_at = Some(now);
    }

    fn claim(&mut self, now: Time, limit: u32, except: &[PartnerId]) -> Vec<DueUser> {
        let due = |(key, person): (&Key, &Person)| Some((person.user.due_at.filter(|due| *due <= now)?, key.clone()));
        let mut claimed: Vec<_> = self.0.iter().filter(|((partner, _), _)| !except.contains(partner)).filter_map(due).collect();
        claimed.sort_unstable();
        claimed.truncate(limit as usize);
        let claim = |(_, (partner, user)): (Time, Key)| {
            let person = self.person(&partner, &user);
            person.user.due_at = Some(after(now, next_nudge_of_user(person.nudges)));
            person.user.version += 1;
            person.nudges += 1;
            DueUser { version: person.user.version, partner, user }
        };
        claimed.into_iter().map(claim).collect()
    }

    fn take_turn(&mut self, partner: &PartnerId, user: &UserId, version: i64, due_at: Time) -> Option<User> {
        let person = self.0.get_mut(&(partner.clone(), user.clone())).filter(|person| person.user.version == version)?;
        person.nudges = 0;
        person.user.version += 1;
        person.user.due_at = Some(due_at);
        Some(person.user.clone())
    }

    fn crowd(&self, partner: &PartnerId, from: Time, until: Time) -> u64 {
        let counts = |warning: &Warning| match warning.row.state {
            RowState::Planned | RowState::Sent => (from..until).contains(&warning.row.moment()),
            RowState::Skipped(_) => false,
        };
        let users = self.0.iter().filter(|((of, _), person)| of == partner && person.warnings.values().any(counts));
        users.count() as u64
    }

    fn list(&self, filter: &WarningFilter) -> Vec<Warning> {
        let fits = |warning: &&Warning| {
            let moment = warning.row.moment();
            filter.partner.as_ref().is_none_or(|partner| *partner == warning.partner)
                && filter.user.as_ref().is_none_or(|user| *user == warning.user)
                && filter.state.is_none_or(|state| state == WarningState::of(warning.row.state))
                && filter.from.is_none_or(|from| moment >= from)
                && filter.until.is_none_or(|until| moment < until)
        };
        let mut warnings: Vec<_> = self.all_warnings().filter(fits).collect();
        warnings.sort_by_key(|warning| (warning.row.moment(), warning.row.pull, warning.row.lead));
        warnings.into_iter().take(filter.limit as usize).cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &User> {
        self.0.values().map(|person| &person.user)
    }

    /// By user, pull and lead time.
    pub(super) fn all_warnings(&self) -> impl Iterator<Item = &Warning> {
        self.0.values().flat_map(|person| person.warnings.values())
    }
}

impl Tables {
    fn watching(&self, partner: &PartnerId, user: &UserId) -> Option<Watching> {
        let person = self.people.get(partner, user)?;
        Some(Watching {
            user: person.user.clone(),
            pulls: self.shelf.pulls_of_user(partner, user),
            rows: person.warnings.values().map(|warning| warning.row.clone()).collect::<Vec<Row>>(),
            selling: self.shelf.targets(partner, user),
        })
    }

    fn settle(&mut self, settling: &Settling) -> Result<Option<Vec<Event>>, StoreError> {
        let (partner, user_id) = (&settling.partner, &settling.user_id);
        let is_its_turn = |person: &&Person| person.user.version == settling.version || planted(Bug::TurnsOverlap);
        let known = self.people.get(partner, user_id).filter(is_its_turn).cloned();
        let Some(mut person) = known else { return Ok(None) };
        let soon = after(settling.at, SYNC_AFTER);
        let is_wanted = person.user.sync_wanted > settling.seen;
        person.nudges = 0;
        person.user.version += 1;
        person.user.due_at = if is_wanted { sooner(settling.due_at, soon) } else { settling.due_at };
        if person.user.sync_wanted <= settling.synced {
            person.user.wanted_at = None;
        } else if settling.synced > person.user.synced {
            person.user.wanted_at = Some(settling.at);
        }
        person.user.synced = settling.synced;
        settling.changes.iter().for_each(|change| person.plan(change, settling.at));

        let before = if planted(Bug::TurnsOverlap) { person.user.sequence } else { settling.sequence };
        let mut events: Vec<Event> = Vec::new();
        for digest in &settling.digests {
            let sequence = before + events.len() as u64 + 1;
            let event = EventId::of(User::subject(partner, user_id), sequence);
            let sent = person.send(digest, event, &self.shelf, settling.at);
            if sent.len() < digest.items.len() {
                person.user.due_at = sooner(person.user.due_at, soon);
            }
            events.extend(settling.expiring(digest, sequence, |row| sent.contains(&(row.pull, row.lead))));
        }
        let is_said = |pull: &&Pull| pull.sale.is_none() && pull.told.closed_at.is_none();
        let closes = |pull: &&Pull| self.shelf.pull(pull.purchase, pull.position).filter(is_said).is_some();
        let closed: BTreeSet<PullId> = settling.closed.iter().flatten().filter(closes).map(|pull| pull.id).collect();
        for pulls in &settling.closed {
            let sequence = before + events.len() as u64 + 1;
            events.extend(settling.expired(pulls, sequence, |pull| closed.contains(&pull)));
        }
        person.user.sequence = before + events.len() as u64;
        rules::due_user(&person.user)?;
        events.iter().try_for_each(|event| rules::new_event(event, &self.log))?;

        for pull in self.shelf.pulls_of_user(partner, user_id) {
            let Some(pull) = self.shelf.pull_mut(pull.purchase, pull.position) else { continue };
            if closed.contains(&pull.id) && !planted(Bug::ClosedAgain) {
                pull.told.closed_at = Some(settling.at);
            }
            if settling.offered.contains(&pull.id) {
                pull.told.offered_at = Some(settling.at);
            }
        }
        events.iter().for_each(|event| self.log.append(event.clone()));
        self.commits.push(Committed::Settled { user: person.user.clone(), events: events.clone() });
        *self.people.person(partner, user_id) = person;
        Ok(Some(events))
    }
}

fn sooner(due: Option<Time>, at: Time) -> Option<Time> {
    Some(due.map_or(at, |due| due.min(at)))
}

#[async_trait]
impl Users for Memory {
    async fn user_settings(&self, partner: &PartnerId, user: &UserId) -> Result<UserSettings, StoreError> {
        Ok(self.read(|tables| tables.people.get(partner, user).map(|person| person.user.settings).unwrap_or_default()))
    }

    async fn set_user_settings(
        &self,
        partner: &PartnerId,
        user: &UserId,
        settings: UserSettings,
        now: Time,
    ) -> Result<(), StoreError> {
        self.commit(|tables| tables.people.set(partner, user, settings, now));
        Ok(())
    }

    async fn claim_due_users(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<DueUser>, StoreError> {
        Ok(self.commit(|tables| tables.people.claim(now, limit, except)))
    }

    async fn take_turn_of_user(
        &self,
        partner: &PartnerId,
        user: &UserId,
        version: i64,
        due_at: Time,
    ) -> Result<Option<User>, StoreError> {
        Ok(self.commit(|tables| tables.people.take_turn(partner, user, version, due_at)))
    }

    async fn watching(&self, partner: &PartnerId, user: &UserId) -> Result<Option<Watching>, StoreError> {
        Ok(self.read(|tables| tables.watching(partner, user)))
    }

    async fn settle_user(&self, settling: &Settling) -> Result<Option<Vec<Event>>, StoreError> {
        self.commit(|tables| tables.settle(settling))
    }

    async fn crowd(&self, partner: &PartnerId, from: Time, until: Time) -> Result<u64, StoreError> {
        Ok(self.read(|tables| tables.people.crowd(partner, from, until)))
    }

    async fn warnings(&self, filter: WarningFilter) -> Result<Vec<Warning>, StoreError> {
        Ok(self.read(|tables| tables.people.list(&filter)))
    }

    async fn expiring(&self, partner: &PartnerId, from: Time, until: Time, limit: u32) -> Result<Vec<Pull>, StoreError> {
        Ok(self.read(|tables| tables.shelf.expiring(partner, from, until, limit)))
    }
}

impl Shelf {
    /// Unsold, earliest first.
    fn expiring(&self, partner: &PartnerId, from: Time, until: Time, limit: u32) -> Vec<Pull> {
        let expires = |pull: &Pull| match pull.sight.expiry {
            Expiry::At(at) => Some(at).filter(|at| (from..until).contains(at)),
            Expiry::NotRead | Expiry::Never => None,
        };
        let unsold = self.all_pulls().filter(|pull| pull.partner == *partner && pull.sale.is_none());
        let mut pulls: Vec<_> = unsold.filter_map(|pull| Some((expires(pull)?, pull))).collect();
        pulls.sort_by_key(|(at, pull)| (*at, pull.purchase, pull.position));
        pulls.into_iter().take(limit as usize).map(|(_, pull)| pull.clone()).collect()
    }
}
