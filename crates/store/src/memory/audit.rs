//! The audit of the model: the questions of the SQL stores, asked row by row. What the model's rules make impossible (a row that
//! vanished, a state that is none, an open row without a due time) it does not look for.

use clawback_domain::{
    OrderId,
    answer::Answer,
    clock::until,
    event::{Event, EventType},
    order::{AnyOrder, StateName},
    purchase::{Purchase, State},
    sellback::{self, Sellback},
};
use uuid::Uuid;

use super::{Tables, listing::Extent};
use crate::{
    StoredEvent,
    audit::{Books, Difference, Finding, MOST_NAMED, OVERDUE, Scope, UNSENT},
};

type Check = fn(&Tables, Scope) -> Vec<Difference>;

/// In the order in which differences are told.
const CHECKS: [Check; 6] = [overdue, attempts, orphans, pulls, events, unsent];

impl Tables {
    pub(super) fn audit(&self, scope: Scope) -> Books {
        let mut books = Books::default();
        self.scoped(scope).for_each(|purchase| self.count(purchase, &mut books));
        self.sellbacks(scope).for_each(|sellback| count_sale(sellback, &mut books));
        for check in CHECKS {
            let found = check(self, scope);
            let Some(first) = found.first() else { continue };
            books.found.insert(first.finding.code(), found.len() as u64);
            books.differences.extend(found.into_iter().take(MOST_NAMED as usize));
        }
        books.pruned = (self.accepted(scope).count() - self.orders(scope).count()) as u64;
        let (found, items) = self.unexplained.count_orphans(scope.since);
        books.tell_orphans(found, items, self.unexplained.orphans(scope.since, MOST_NAMED));
        books
    }

    fn scoped(&self, scope: Scope) -> impl Iterator<Item = &Purchase> {
        self.orders(scope).filter_map(AnyOrder::purchase)
    }

    fn sellbacks(&self, scope: Scope) -> impl Iterator<Item = &Sellback> {
        self.orders(scope).filter_map(AnyOrder::sellback)
    }

    fn orders(&self, scope: Scope) -> impl Iterator<Item = &AnyOrder> {
        self.accepted(scope).filter(|order| self.shelf.extent(order.id()) < Extent::Tombstone)
    }

    /// Pruned or not.
    fn accepted(&self, scope: Scope) -> impl Iterator<Item = &AnyOrder> {
        self.shelf.all().filter(move |order| scope.since.is_none_or(|since| order.created_at() >= since))
    }

    fn count(&self, purchase: &Purchase, books: &mut Books) {
        let sums = books.partners.entry(purchase.partner.clone()).or_default();
        sums.accepted += 1;
        match purchase.state.name() {
            StateName::Fulfilled => sums.fulfilled += 1,
            StateName::Failed => sums.failed += 1,
            StateName::Review => sums.review += 1,
            StateName::Accepted | StateName::Initiating | StateName::Pending | StateName::Reconciling => sums.open += 1,
            StateName::Selling | StateName::Sold => unreachable!("a purchase sells nothing"),
        }
        for row in self.attempts.of(purchase.id) {
            sums.attempts += 1;
            sums.sessions += u64::from(row.fact.as_ref().is_some_and(|fact| matches!(fact.answer, Answer::Done { .. })));
        }
        let paid = match &purchase.state {
            State::Fulfilled(_) => true,
            State::Failed { .. } => false,
            state => state.session().is_some(),
        };
        if paid {
            let last = self.attempts.of(purchase.id).iter().find(|row| row.attempt.number == purchase.attempts);
            let price = last.and_then(|row| row.attempt.price);
            sums.paid += 1;
            sums.paid_known += u64::from(price.is_some());
            sums.spent += price.map_or(0, |price| i128::from(price.millionths()));
        }
        for pull in self.shelf.pulls(purchase.id) {
            sums.pulls += 1;
            sums.priced += u64::from(pull.item.buyback_price.is_some());
            sums.worth += pull.item.buyback_price.map_or(0, |price| i128::from(price.millionths()));
        }
    }
}

fn count_sale(sellback: &Sellback, books: &mut Books) {
    let sums = &mut books.partners.entry(sellback.partner.clone()).or_default().sellbacks;
    sums.accepted += 1;
    match &sellback.state {
        sellback::State::Sold(sold) => {
            sums.sold += 1;
            sums.estimated += u64::from(sold.estimated);
            sums.brought += sold.amount.map_or(0, |amount| i128::from(amount.millionths()));
        }
        sellback::State::Failed { .. } => sums.failed += 1,
        sellback::State::Review(_) => sums.review += 1,
        sellback::State::Accepted { .. } | sellback::State::Selling(_) | sellback::State::Reconciling(_) => sums.open += 1,
    }
}

fn overdue(tables: &Tables, scope: Scope) -> Vec<Difference> {
    let late = tables.orders(scope).filter_map(|order| {
        let due_at = order.due_at().filter(|due_at| until(*due_at, scope.now) > OVERDUE)?;
        Some(of(order, Finding::Overdue { state: order.state().to_string(), due_at }))
    });
    late.collect()
}

fn attempts(tables: &Tables, scope: Scope) -> Vec<Difference> {
    let wrong = tables.orders(scope).filter_map(|order| {
        let (counted, stored) = (i64::from(order.attempts()), tables.attempts.of(order.id()).len() as i64);
        let uncalled = matches!(order.state(), StateName::Accepted | StateName::Failed);
        let right = counted == stored && (counted > 0 || uncalled);
        (!right).then(|| of(order, Finding::Attempts { state: order.state().to_string(), counted, stored }))
    });
    wrong.collect()
}

fn orphans(tables: &Tables, scope: Scope) -> Vec<Difference> {
    let mut found = Vec::new();
    for purchase in tables.scoped(scope) {
        let known = purchase.state.session();
        for row in tables.attempts.of(purchase.id) {
            let Some(Answer::Done { session, .. }) = row.fact.as_ref().map(|fact| &fact.answer) else { continue };
            let taken = known.map_or(purchase.state.name() != StateName::Failed, |known| known == session);
            if !taken {
                let (attempt, known) = (i64::from(row.attempt.number), known.map(ToString::to_string));
                found.push(of_purchase(purchase, Finding::Orphan { attempt, session: session.to_string(), known }));
            }
        }
    }
    found
}

fn pulls(tables: &Tables, scope: Scope) -> Vec<Difference> {
    let wrong = tables.scoped(scope).filter_map(|purchase| {
        let (amount, drawn) = (i64::from(purchase.command.amount), tables.shelf.pulls(purchase.id).len() as i64);
        let right = match &purchase.state {
            State::Fulfilled(fulfilled) if fulfilled.recovered && fulfilled.evidence.is_some() => drawn > 0,
            State::Fulfilled(_) => drawn == amount,
            _ => drawn == 0,
        };
        (!right).then(|| of_purchase(purchase, Finding::Pulls { state: state(purchase), amount, drawn }))
    });
    wrong.collect()
}

fn events(tables: &Tables, scope: Scope) -> Vec<Difference> {
    let wrong = tables.orders(scope).filter_map(|order| {
        let (name, sequence) = (order.state(), order.sequence().cast_signed());
        let told: Vec<_> = tables.log.of(order.id().0).collect();
        let many = |fits: &dyn Fn(&StoredEvent) -> bool| told.iter().filter(|row| fits(row)).count() as i64;
        let finals = many(&|row| row.event.kind.is_final());
        let says = EventType::of_state(order.kind(), name);
        let last = many(&|row| row.event.sequence == order.sequence() && Some(row.event.kind) == says);
        let stored = told.len() as i64;
        let right = stored == sequence && finals == i64::from(name.is_final()) && (last == 1 || !name.is_announced());
        (!right).then(|| of(order, Finding::Events { state: name.to_string(), sequence, stored, finals, last }))
    });
    wrong.collect()
}

fn unsent(tables: &Tables, scope: Scope) -> Vec<Difference> {
    let in_scope = |subject: Uuid, otherwise| {
        let born = tables.shelf.get(OrderId(subject)).map_or(otherwise, AnyOrder::created_at);
        scope.since.is_none_or(|since| born >= since)
    };
    let stuck = tables.log.all().filter(|row| row.sent_at.is_none() && until(row.event.time, scope.now) > UNSENT);
    let mut stuck: Vec<_> = stuck.map(|row| &row.event).filter(|event| in_scope(event.subject, event.time)).collect();
    stuck.sort_unstable_by_key(|event| (event.subject, event.sequence));
    let difference = |event: &Event| Difference {
        subject: event.subject,
        partner: Some(event.partner.clone()),
        finding: Finding::Unsent { kind: event.kind.as_str().into(), sequence: event.sequence.cast_signed(), time: event.time },
    };
    stuck.into_iter().map(difference).collect()
}

fn of(order: &AnyOrder, finding: Finding) -> Difference {
    Difference { subject: order.id().0, partner: Some(order.partner().clone()), finding }
}

fn of_purchase(purchase: &Purchase, finding: Finding) -> Difference {
    Difference { subject: purchase.id.0, partner: Some(purchase.partner.clone()), finding }
}

fn state(purchase: &Purchase) -> String {
    purchase.state.name().to_string()
}
