//! What was concluded about each user, and what looks showed of what they hold.

use std::collections::BTreeMap;

use clawback_domain::{
    PartnerId, Time, UserId,
    change::Ruling,
    evidence::{Case, MOST_OPEN, MOST_UNEXPLAINED, Open, Sightings},
    item::Pull,
    order::AnyOrder,
    purchase::Purchase,
};

use super::Tables;

#[derive(Default)]
pub(super) struct Cases(BTreeMap<(PartnerId, UserId), Ruled>);

/// How far the rulings about one user have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ruled {
    pub version: i64,
    pub retried_at: Option<Time>,
}

impl Cases {
    fn of(&self, partner: &PartnerId, user: &UserId) -> Ruled {
        self.0.get(&(partner.clone(), user.clone())).copied().unwrap_or_default()
    }

    /// Whether `ruling` was concluded from the case of this order's user as it stands.
    pub(super) fn fits(&self, order: &AnyOrder, ruling: Ruling) -> bool {
        let version = self.of(order.partner(), order.user_id()).version;
        ruling.case.is_none_or(|case| case == version)
    }

    pub(super) fn rule(&mut self, after: &AnyOrder, ruling: Ruling) {
        let ruled = self.0.entry((after.partner().clone(), after.user_id().clone())).or_default();
        ruled.version += 1;
        if ruling.retried {
            ruled.retried_at = Some(after.updated_at());
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&(PartnerId, UserId), &Ruled)> {
        self.0.iter()
    }
}

impl Tables {
    pub(super) fn case(&self, partner: &PartnerId, user: &UserId) -> Case {
        let Ruled { version, retried_at } = self.cases.of(partner, user);
        let open = self.shelf.open_of_user(partner, user);
        let pulls = self.shelf.pulls_of_user(partner, user);
        let first = |pull: &Pull| Some((pull.purchase, self.attempts.of(pull.purchase).first()?.attempt.started_at));
        let with_attempts =
            |purchase: &Purchase| Open { purchase: purchase.clone(), attempts: self.attempts.of(purchase.id).to_vec() };
        let mut unexplained = self.unexplained.list(Some(partner), Some(user), MOST_UNEXPLAINED + 1);
        let truncated = open.len() > MOST_OPEN as usize || unexplained.len() > MOST_UNEXPLAINED as usize;
        unexplained.truncate(MOST_UNEXPLAINED as usize);
        Case {
            version,
            retried_at,
            truncated,
            open: open.into_iter().take(MOST_OPEN as usize).map(with_attempts).collect(),
            called: pulls.iter().filter_map(first).collect(),
            pulls,
            unexplained,
        }
    }

    pub(super) fn record_look(&mut self, look: &Sightings) {
        for (purchase, position, shown) in &look.pulls {
            let pull = self.shelf.pull_mut(*purchase, *position);
            if let Some(pull) = pull.filter(|pull| pull.partner == look.partner && pull.user_id == look.user_id) {
                pull.sight = pull.sight.after(look.at, *shown);
            }
        }
    }
}
