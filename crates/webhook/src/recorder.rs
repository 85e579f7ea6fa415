//! The double: keeps what was delivered and answers as it was told to.
//!
//! It asks no clock, draws nothing and waits for nothing, so that the simulation can stand anything it likes before it: delays,
//! answers lost on their way, deliveries doubled. What it keeps is what the wire would have shown, signatures included.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use url::Url;

use crate::{Delivery, Endpoint, Outcome, Receiver, Signed};

/// One delivery as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub url: Url,
    pub delivery: Delivery,
    pub signed: Signed,
    /// What was answered.
    pub outcome: Outcome,
}

type Answer = dyn Fn(&Endpoint, &Delivery) -> Outcome + Send + Sync;

/// Any number of endpoints, in memory. Clones share what they keep.
#[derive(Clone)]
pub struct Recorder {
    answer: Arc<Answer>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    scripts: BTreeMap<Url, VecDeque<Outcome>>,
    recorded: Vec<Recorded>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// Takes whatever comes.
    pub fn new() -> Self {
        Self::answering(|_, _| Outcome::Delivered { status: 200 })
    }

    /// Answers as `answer` says, unless a script has something to say.
    pub fn answering(answer: impl Fn(&Endpoint, &Delivery) -> Outcome + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), state: Arc::default() }
    }

    /// The next deliveries to `url` are answered with `outcomes`, one each, after those that were scripted before.
    pub fn script(&self, url: &Url, outcomes: impl IntoIterator<Item = Outcome>) {
        self.state.lock().scripts.entry(url.clone()).or_default().extend(outcomes);
    }

    /// Everything that arrived, in order.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.state.lock().recorded.clone()
    }

    /// The same, and forgets it.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.state.lock().recorded)
    }
}

#[async_trait]
impl Receiver for Recorder {
    async fn deliver(&self, endpoint: &Endpoint, delivery: Delivery) -> Outcome {
        let url = endpoint.url();
        let scripted = self.state.lock().scripts.get_mut(url).and_then(VecDeque::pop_front);
        // Asked without the lock, so that it may look at what was recorded.
        let outcome = scripted.unwrap_or_else(|| (self.answer)(endpoint, &delivery));
        let signed = Signed::new(&delivery, endpoint.secrets());
        self.state.lock().recorded.push(Recorded { url: url.clone(), delivery, signed, outcome: outcome.clone() });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::SigningSecrets;

    /// Without any runtime: the first poll must be the last.
    fn deliver(recorder: &Recorder, endpoint: &Endpoint, body: &str) -> Outcome {
        let delivery = Delivery {
            id: "d20108d0-d642-53c7-8804-e2c13a7d4c0a".parse().unwrap(),
            body: body.into(),
            timestamp: "2026-08-01T12:00:00Z".parse().unwrap(),
        };
        let Poll::Ready(outcome) = pin!(recorder.deliver(endpoint, delivery)).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("it waits for something");
        };
        outcome
    }

    fn endpoint(url: &str) -> Endpoint {
        let secrets = SigningSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        Endpoint::new(url, secrets, false).unwrap()
    }

    #[test]
    fn a_script_is_per_endpoint_and_comes_first() {
        let (acme, beta) = (endpoint("https://acme.example/"), endpoint("https://beta.example/"));
        let recorder = Recorder::answering(|_, delivery| Outcome::unanswered(&*delivery.body));
        recorder.script(acme.url(), [Outcome::Gone]);
        recorder.script(acme.url(), [Outcome::answered(204, None)]);
        assert_eq!(deliver(&recorder, &beta, "one"), Outcome::unanswered("one"));
        assert_eq!(deliver(&recorder, &acme, "two"), Outcome::Gone);
        assert_eq!(deliver(&recorder.clone(), &acme, "three"), Outcome::Delivered { status: 204 });
        assert_eq!(deliver(&recorder, &acme, "four"), Outcome::unanswered("four"));

        let bodies: Vec<_> =
            recorder.recorded().into_iter().map(|one| (one.url.host_str().unwrap().to_owned(), one.delivery.body)).collect();
        let acme = |body: &str| ("acme.example".to_owned(), body.into());
        assert_eq!(bodies, [("beta.example".into(), "one".into()), acme("two"), acme("three"), acme("four")]);
        assert_eq!((recorder.take().len(), recorder.recorded().len()), (4, 0));
    }

    #[test]
    fn an_answer_may_look_at_what_was_recorded() {
        let seen: Arc<Mutex<Option<Recorder>>> = Arc::default();
        let inner = seen.clone();
        let recorder = Recorder::answering(move |_, _| {
            let count = inner.lock().as_ref().map_or(0, |recorder| recorder.recorded().len());
            if count < 2 { Outcome::answered(503, None) } else { Outcome::answered(200, None) }
        });
        *seen.lock() = Some(recorder.clone());
        let acme = endpoint("https://acme.example/");
        let delivered = (0..3).map(|_| matches!(deliver(&recorder, &acme, "x"), Outcome::Delivered { .. }));
        assert_eq!(delivered.collect::<Vec<_>>(), [false, false, true]);
    }
}
