//! The store's part alone: all that the product writes of a purchase's life, through the product's store; and the ceiling's three bare
//! transitions, through the ceiling's. As many lives at once as a worker has purchases in hand.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use clawback_domain::{
    AttemptToken, ItemId, Money, PackId, PartnerId, RequestId, SessionId, Time, UserId,
    answer::{Answer, Fulfilment, StatusAnswer},
    change::{Change, Fact, Insertion},
    clock::micros,
    command::PurchaseCommand,
    item::{Attribute, Item},
    purchase::{Decision, Happened, Purchase, Rules, Transition, decide},
    trace::TraceContext,
};
use clawback_store::{Applied, Inserted, Sent, Store, sql};
use serde_json::value::RawValue;
use tokio::{sync::Semaphore, task::JoinSet};
use uuid::Uuid;

use crate::{
    broker_only::ITEMS,
    ceiling::PREFETCH,
    group::{Group, Write},
    job::{self, Command, Outcome, Span},
    variant::Told,
};

pub async fn run(told: &Told) -> Result<Outcome> {
    let store = Arc::new(sql::connect(&told.database, sql::Options::default()).await?);
    let partners = told.partners();
    lives(told.purchases, |number| life(store.clone(), partners[number % partners.len()].clone(), number)).await
}

pub async fn run_bare(told: &Told) -> Result<Outcome> {
    let group = Group::open(&told.database).await?;
    let partners = told.partners();
    lives(told.purchases, |number| bare(group.clone(), partners[number % partners.len()].clone(), number)).await
}

async fn lives<F>(count: usize, life: impl Fn(usize) -> F) -> Result<Outcome>
where
    F: Future<Output = Result<Span>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(PREFETCH));
    let mut lived = JoinSet::new();
    for number in 0..count {
        let permit = permits.clone().acquire_owned().await?;
        let life = life(number);
        lived.spawn(async move {
            let span = life.await;
            drop(permit);
            span
        });
    }
    job::outcome(lived).await
}

async fn life(store: Arc<sql::Sql>, partner: String, number: usize) -> Result<Span> {
    let begun = Instant::now();
    let accepted = Purchase::accept(PartnerId::new(partner)?, command(number)?, now(), trace());
    let attempt = accepted.attempt(AttemptToken(Uuid::new_v4()), now(), &Rules::default());
    let initiated = Happened::Initiated(attempt);
    let insertion = Insertion::of(accepted.clone()).then(transition(&accepted, initiated.clone())?, initiated.name());
    let called = insertion.order.purchase().context("it is a purchase")?.clone();
    ensure!(store.insert(insertion).await? == Inserted::New, "the row was there before");

    let session = SessionId::new(format!("cs_live_{}", Uuid::new_v4()))?;
    let answer = Answer::Done { session: session.clone(), nfts: vec![item(number)?] };
    let answered = Happened::Answered { token: attempt.token, answer: answer.without_items() };
    let fact = Fact { token: attempt.token, answer, at: now() };
    let pending = change(&called, answered, Some(fact))?;
    ensure!(store.apply(pending.clone()).await? == Applied::Committed, "a transition did not fit");

    let told = Fulfilment { session, user_id: None, public_id: None, tx_hash: None, nfts: vec![item(number)?] };
    let pending = pending.after.purchase().context("it is a purchase")?;
    let fulfilled = change(pending, Happened::Polled(StatusAnswer::Fulfilled(told)), None)?;
    let event = fulfilled.event.as_ref().context("an end has an event")?.id;
    ensure!(store.apply(fulfilled).await? == Applied::Committed, "a transition did not fit");
    store.mark_sent(vec![Sent { event, at: now(), unrouted: false }]).await?;
    Ok(Span::since(begun))
}

async fn bare(group: Group, partner: String, number: usize) -> Result<Span> {
    let begun = Instant::now();
    let command = Command {
        request_id: format!("order-{number}"),
        user_id: format!("user-{}", number % 10_000),
        pack_id: "rookie".into(),
        amount: 1,
    };
    let purchase = job::Purchase { id: Uuid::new_v4(), partner, command };
    group.write(Write::Insert(purchase.clone())).await?;
    let session = format!("cs_live_{}", Uuid::new_v4());
    group.write(Write::Opened { id: purchase.id, session: session.clone() }).await?;
    let event = Uuid::new_v4();
    let body = purchase.event(event, &session, serde_json::from_str::<&RawValue>(ITEMS)?);
    group.write(Write::Fulfilled { id: purchase.id, items: ITEMS.to_owned(), event, body }).await?;
    Ok(Span::since(begun))
}

fn change(before: &Purchase, happened: Happened, fact: Option<Fact>) -> Result<Change> {
    let what = happened.name();
    Ok(Change::of(before, transition(before, happened)?, what, fact))
}

fn transition(before: &Purchase, happened: Happened) -> Result<Transition> {
    match decide(before, happened, now(), &Rules::default()) {
        Decision::Transition(transition) => Ok(*transition),
        other => bail!("no transition: {other:?}"),
    }
}

fn command(number: usize) -> Result<PurchaseCommand> {
    Ok(PurchaseCommand {
        request_id: RequestId::new(format!("order-{number}"))?,
        user_id: UserId::new(format!("user-{}", number % 10_000))?,
        pack_id: PackId::new("rookie")?,
        amount: 1,
        not_after: None,
        metadata: None,
    })
}

fn item(number: usize) -> Result<Item> {
    let attribute = |name: &str, value: &str| Attribute { trait_type: name.into(), value: value.into() };
    Ok(Item {
        name: Some(format!("1998 Mateo Okafor #{number}")),
        image: Some(format!("https://cdn.phygitals.example/cards/{number}.png")),
        back_image: Some(format!("https://cdn.phygitals.example/cards/{number}-back.png")),
        kind: Some("enft".into()),
        token_standard: Some("core".into()),
        attributes: vec![attribute("Year", "1998"), attribute("Grade", "PSA 9"), attribute("Set", "Base")],
        buyback_price: Some(Money::usd(21_250_000)),
        ..Item::bare(ItemId::new(format!("item-{number}"))?)
    })
}

fn trace() -> TraceContext {
    TraceContext::start(Uuid::new_v4(), 7)
}

fn now() -> Time {
    micros(chrono::Utc::now())
}
