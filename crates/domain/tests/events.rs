//! The text of every event, as partners receive it.

use clawback_domain::{
    DeadLetterId, EventId, ItemId, Money, PackId, PartnerId, PublicId, PullId, PurchaseId, RequestId, SellbackId, SessionId,
    Time, TxHash, UserId,
    command::{Metadata, PurchaseCommand, SellbackCommand, Target, parse_purchase},
    event::{
        self, CloudEvent, Event, EventType, FailedData, Fulfilled, FulfilledData, NotSoldData, RejectedData, ReviewData,
        SaleReviewData, SoldData, Subject,
    },
    evidence::{Evidence, Look},
    item::{Attribute, Expiry, Item, Pull, Sight},
    reason::{Failure, FailureCode, ReviewCode},
    sellback::{self, Copies, Holding, PullPlace, SaleEvidence, SaleLook, Sold},
    trace::TraceContext,
};
use serde::{Serialize, de::DeserializeOwned};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn partner() -> PartnerId {
    PartnerId::new("acme").unwrap()
}

fn trace() -> TraceContext {
    TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("vendor=value")).unwrap()
}

fn command(metadata: Option<&str>) -> PurchaseCommand {
    PurchaseCommand {
        request_id: RequestId::new("order-1001").unwrap(),
        user_id: UserId::new("user-42").unwrap(),
        pack_id: PackId::new("pack-gold").unwrap(),
        amount: 3,
        not_after: None,
        metadata: metadata.map(|text| Metadata::parse(text).unwrap()),
    }
}

fn on_subject<T>(command: &PurchaseCommand, build: impl FnOnce(&Subject<'_, PurchaseCommand>) -> T) -> T {
    let (partner, trace) = (partner(), trace());
    build(&Subject {
        partner: &partner,
        id: PurchaseId::of(&partner, &command.request_id),
        command,
        request_id: &command.request_id,
        sequence: 1,
        time: time("2026-03-01T12:00:00.250Z"),
        trace: Some(&trace),
    })
}

fn pulls(command: &PurchaseCommand) -> Vec<Pull> {
    let purchase = PurchaseId::of(&partner(), &command.request_id);
    let full = Item {
        name: Some("Ünïcorn \"holo\"".into()),
        image: Some("https://img.example/front.png".into()),
        back_image: Some("https://img.example/back.png".into()),
        kind: Some("enft".into()),
        mint_address: Some("mint-1".into()),
        collection_address: Some("collection-1".into()),
        token_standard: Some("pNFT".into()),
        attributes: vec![
            Attribute { trait_type: "Grade".into(), value: "PSA 10".into() },
            Attribute { trait_type: "Year".into(), value: 1999.into() },
        ],
        buyback_price: Some(Money::usd(8_500_000)),
        ..Item::bare(ItemId::new("mint-1").unwrap())
    };
    let bare = Item::bare(ItemId::new("item-2").unwrap());
    let expiries = [Expiry::At(time("2026-03-08T12:00:00Z")), Expiry::Never, Expiry::NotRead];
    let items = [full, bare.clone(), bare];
    let pull = |(position, (item, expiry)): (u32, (Item, Expiry))| Pull {
        id: PullId::of(purchase, position),
        purchase,
        position,
        partner: partner(),
        user_id: command.user_id.clone(),
        pack_id: command.pack_id.clone(),
        item,
        created_at: time("2026-03-01T12:00:00Z"),
        sight: Sight { expiry, ..Sight::default() },
        sale: None,
        told: Default::default(),
    };
    (0..).zip(items.into_iter().zip(expiries)).map(pull).collect()
}

fn evidence() -> Evidence {
    let look = Look {
        at: time("2026-03-01T12:00:30Z"),
        good: true,
        proof: true,
        listed: 7,
        missing: 0,
        unexplained: vec![ItemId::new("mint-1").unwrap()],
        note: "1 unexplained items".into(),
    };
    Evidence {
        doubt: "connection reset".into(),
        looks: vec![look],
        verdict: "one item explains it".into(),
        ..Evidence::default()
    }
}

fn fulfilled(command: &PurchaseCommand, recovered: bool) -> Event {
    let (session, public) = (SessionId::new("session-1").unwrap(), PublicId::new("_XKCD").unwrap());
    let (hash, evidence, pulls) = (TxHash::new("5xHash").unwrap(), evidence(), pulls(command));
    let outcome = Fulfilled {
        session_id: (!recovered).then_some(&session),
        public_id: (!recovered).then_some(&public),
        tx_hash: (!recovered).then_some(&hash),
        pulls: &pulls,
        recovered,
        evidence: Some(&evidence),
    };
    on_subject(command, |subject| event::fulfilled(subject, &outcome))
}

fn failed() -> Event {
    let failure =
        Failure { code: FailureCode::OutOfStock, message: "Claw machine is out of stock".into(), upstream_status: Some(400) };
    on_subject(&command(None), |subject| event::failed(subject, &failure, None))
}

fn review() -> Event {
    let evidence = evidence();
    on_subject(&command(None), |subject| {
        event::review(subject, ReviewCode::UnknownOutcome, "buy/init was cut off; one look is not proof", Some(&evidence))
    })
}

fn rejected() -> Event {
    let message = br#"{"request_id":"order-1001","user_id":"a/b","pack_id":"pack-gold","ammount":1}"#;
    let rejected = parse_purchase(None, message).unwrap_err();
    let id = DeadLetterId::of("clawback.purchases.acme", b"message-1");
    event::rejected(&partner(), id, &rejected, time("2026-03-01T12:00:00.000001Z"), None)
}

/// The snapshot is for reading; the text itself is one line, and reads back as the type that wrote it.
fn check<D: DeserializeOwned + Serialize>(name: &str, event: &Event) {
    assert!(!event.body.contains('\n'));
    let read: CloudEvent<'_, D> = serde_json::from_str(&event.body).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), *event.body);
    assert_eq!((read.id, read.kind, read.time), (event.id, event.kind, event.time));
    assert_eq!(read.id, EventId::of(event.subject, event.sequence));
    let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
    insta::assert_snapshot!(name, format!("{body:#}"));
}

#[test]
fn every_event_has_the_body_of_the_contract() {
    let with_metadata = command(Some("{ \"order\" : {\"z\":1.50,\"a\":[null]} }"));
    check::<FulfilledData<'_>>("event.purchase.fulfilled", &fulfilled(&with_metadata, false));
    check::<FulfilledData<'_>>("event.purchase.fulfilled.recovered", &fulfilled(&command(None), true));
    check::<FailedData<'_>>("event.purchase.failed", &failed());
    check::<ReviewData<'_>>("event.purchase.review", &review());
    check::<RejectedData<'_>>("event.command.rejected", &rejected());
}

/// A sellback by item id, or by pull; each event of it is its first.
fn on_sellback<T>(target: Target, build: impl FnOnce(&Subject<'_, SellbackCommand>) -> T) -> T {
    let (partner, trace) = (partner(), trace());
    let command = SellbackCommand {
        request_id: RequestId::new("sell-7").unwrap(),
        user_id: UserId::new("user-42").unwrap(),
        target,
        min_price: Some(Money::usd(5_000_000)),
        not_after: None,
        metadata: Some(Metadata::parse(r#"{"note":"é"}"#).unwrap()),
    };
    build(&Subject {
        partner: &partner,
        id: SellbackId::of(&partner, &command.request_id),
        command: &command,
        request_id: &command.request_id,
        sequence: 1,
        time: time("2026-03-01T12:00:00.250Z"),
        trace: Some(&trace),
    })
}

fn by_item() -> Target {
    Target::Item(ItemId::new("mint-1").unwrap())
}

fn place() -> PullPlace {
    PullPlace { purchase: PurchaseId::of(&partner(), &RequestId::new("order-1001").unwrap()), position: 2 }
}

fn sale_evidence() -> SaleEvidence {
    let moment = |text: &str| time(&format!("2026-03-01T12:{text}Z"));
    let copy = Copies { user_id: UserId::new("user-42").unwrap(), purchased_at: Some(moment("00:00")), count: 1 };
    SaleEvidence {
        doubt: "connection reset".into(),
        status: None,
        begun_at: moment("01:00"),
        deadline: moment("01:42"),
        window_ends_at: moment("11:42"),
        before: Holding { read_at: moment("00:59"), copies: vec![copy], partial: false },
        looked: 2,
        last: Some(SaleLook { at: moment("01:50"), good: true, count: 0, departed: 1 }),
        still_there_at: None,
        sold_by_others: 0,
        verdict: "it has left the inventory".into(),
    }
}

fn sold(pull: Option<PullPlace>, amount: Option<i64>, evidence: Option<SaleEvidence>) -> Event {
    let sold = Sold {
        item_id: ItemId::new("mint-1").unwrap(),
        pull,
        amount: amount.map(Money::usd),
        estimated: evidence.is_some(),
        evidence: evidence.map(Box::new),
    };
    on_sellback(by_item(), |subject| event::sold(subject, &sold))
}

#[test]
fn every_event_of_a_sellback_has_the_body_of_the_contract() {
    check::<SoldData<'_>>("event.sellback.completed", &sold(Some(place()), Some(7_250_000), None));
    check::<SoldData<'_>>("event.sellback.completed.estimated", &sold(None, None, Some(sale_evidence())));
    let failure = |code, status| Failure { code, message: "why".into(), upstream_status: status };
    let not_found = failure(FailureCode::ItemNotFound, Some(400));
    check::<NotSoldData<'_>>(
        "event.sellback.failed",
        &on_sellback(by_item(), |subject| event::not_sold(subject, &not_found, None)),
    );
    let refused = failure(FailureCode::Refused, None);
    check::<NotSoldData<'_>>(
        "event.sellback.failed.by_pull",
        &on_sellback(Target::Pull(place().id()), |subject| event::not_sold(subject, &refused, Some(&sale_evidence()))),
    );
    let review = sellback::Review {
        code: ReviewCode::Ambiguous,
        message: "more of it left the inventory than one call sells".into(),
        sale: None,
        evidence: Some(Box::new(sale_evidence())),
        since: time("2026-03-01T12:00:00Z"),
    };
    check::<SaleReviewData<'_>>(
        "event.sellback.review",
        &on_sellback(by_item(), |subject| event::sale_review(subject, &review)),
    );
}

#[test]
fn metadata_is_echoed_as_it_was_written() {
    let event = fulfilled(&command(Some(r#"{ "z" : 1.50, "a":[ null ] }"#)), false);
    assert!(event.body.contains(r#""metadata":{"z":1.50,"a":[null]}"#), "{}", event.body);
}

#[test]
fn an_event_computed_twice_is_one_event() {
    assert_eq!(fulfilled(&command(None), false), fulfilled(&command(None), false));
    assert_eq!(rejected(), rejected());
}

#[test]
fn every_type_reads_back_from_its_name() {
    for kind in EventType::ALL {
        assert_eq!(EventType::parse(kind.as_str()), Some(*kind));
        assert!(kind.as_str().starts_with("clawback."));
    }
    assert_eq!(EventType::parse("clawback.purchase.fulfilled.v2"), None);
}
