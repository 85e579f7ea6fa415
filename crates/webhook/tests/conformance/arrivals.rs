//! What reaches the endpoint.

use std::{collections::BTreeSet, time::Duration};

use clawback_domain::{Time, clock};
use clawback_webhook::{Delivery, Outcome, SigningSecrets};

use crate::{
    fixture::Fixture,
    support::{OTHER_SECRET, SECRET, delivery, delivery_at, id},
};

const OK: (u16, Option<u64>) = (200, None);

fn noon() -> Time {
    "2026-08-01T12:00:00.9Z".parse().unwrap()
}

pub async fn what_arrives_is_what_was_handed_over<F: Fixture>() {
    let fixture = F::answering(&[OK]).await;
    let body = r#"{"user_id":"ü@x.de", "amount": 2.50,"note":"a\u0000b  "}"#;
    fixture.deliver(delivery_at(body, noon())).await;
    let [arrived] = &fixture.arrived()[..] else { panic!("one delivery") };
    assert_eq!(arrived.body, body);
    assert_eq!((arrived.signed.id.clone(), arrived.signed.timestamp.as_str()), (id(1).to_string(), "1785585600"));
    assert_eq!(arrived.signed.signature, "v1,bWasM7PFlRyhl9M2jhp6TvLjKKrS6miTss9NlE9sdQU=");
}

pub async fn a_repeat_keeps_its_id_and_carries_its_own_time<F: Fixture>() {
    let fixture = F::answering(&[(503, None), OK]).await;
    for wait in [0, 60] {
        fixture.deliver(delivery_at("{}", clock::after(noon(), Duration::from_secs(wait)))).await;
    }
    let [first, second] = &fixture.arrived()[..] else { panic!("two deliveries") };
    assert_eq!((&first.signed.id, &first.body), (&second.signed.id, &second.body));
    assert_eq!((first.signed.timestamp.as_str(), second.signed.timestamp.as_str()), ("1785585600", "1785585660"));
    assert_ne!(first.signed.signature, second.signed.signature);
}

/// The signatures of three deliveries of the same: with the one secret, with both, with the other.
async fn signatures<F: Fixture>(secrets: [SigningSecrets; 3]) -> [Vec<String>; 3] {
    let fixture = F::answering(&[OK; 3]).await;
    for secrets in secrets {
        fixture.receiver().deliver(&fixture.endpoint_with(secrets), delivery_at("{}", noon())).await;
    }
    let arrived = fixture.arrived();
    [0, 1, 2].map(|number| arrived[number].signed.signature.split(' ').map(str::to_owned).collect())
}

pub async fn every_secret_signs<F: Fixture>() {
    let secrets = [SECRET.into(), format!("{SECRET}\n{OTHER_SECRET}"), OTHER_SECRET.to_owned()];
    let [one, both, other] = signatures::<F>(secrets.map(|text| SigningSecrets::parse(&text).unwrap())).await;
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_eq!(both, [one, other].concat());
}

pub async fn replaced_secrets_sign_the_next_delivery<F: Fixture>() {
    let fixture = F::answering(&[OK; 2]).await;
    let secrets = SigningSecrets::parse(SECRET).unwrap();
    let (receiver, endpoint) = (fixture.receiver(), fixture.endpoint_with(secrets.clone()));
    receiver.deliver(&endpoint, delivery_at("{}", noon())).await;
    secrets.replace(&format!("{SECRET}\n{OTHER_SECRET}")).unwrap();
    receiver.deliver(&endpoint, delivery_at("{}", noon())).await;
    let [before, after] = &fixture.arrived()[..] else { panic!("two deliveries") };
    assert!(after.signed.signature.starts_with(&format!("{} v1,", before.signed.signature)), "{after:?}");
}

pub async fn a_large_event_arrives_whole<F: Fixture>() {
    let fixture = F::answering(&[OK]).await;
    let body = format!("{{\"items\":\"{}\"}}", "0123456789".repeat(200_000));
    assert_eq!(fixture.deliver(delivery(&body)).await, Outcome::Delivered { status: 200 });
    assert!(fixture.arrived()[0].body == body);
}

pub async fn deliveries_at_once_all_arrive<F: Fixture>() {
    let fixture = F::answering(&[OK; 50]).await;
    let (receiver, endpoint) = (fixture.receiver(), fixture.endpoint());
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let (receiver, endpoint) = (receiver.clone(), endpoint.clone());
            let delivery = Delivery { id: id(number), ..delivery("{}") };
            tokio::spawn(async move { receiver.deliver(&endpoint, delivery).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Outcome::Delivered { status: 200 });
    }
    let arrived: BTreeSet<_> = fixture.arrived().into_iter().map(|one| one.signed.id).collect();
    assert_eq!(arrived, (0..50).map(|number| id(number).to_string()).collect());
}

pub async fn what_was_not_taken_had_arrived_all_the_same<F: Fixture>() {
    let fixture = F::answering(&[(500, None), (410, None)]).await;
    for body in ["one", "two"] {
        fixture.deliver(delivery(body)).await;
    }
    let bodies: Vec<_> = fixture.arrived().into_iter().map(|one| one.body).collect();
    assert_eq!(bodies, ["one", "two"]);
}
