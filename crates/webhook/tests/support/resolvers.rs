//! Resolvers that say what a test wants.

use std::{
    future, io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use clawback_webhook::{Https, Resolver, Timeouts};

/// Says one thing after the other, and the last again and again.
pub struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Scripted {
    pub fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect());
        Arc::new(Self { answers: answers.collect(), asked: AtomicUsize::new(0) })
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolver for Scripted {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.answers[number.min(self.answers.len() - 1)].clone())
    }
}

/// Never says anything.
pub struct Silent;

#[async_trait]
impl Resolver for Silent {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        future::pending().await
    }
}

pub fn https_with(resolver: Arc<dyn Resolver>) -> Https {
    Https::with_resolver(Timeouts::default(), resolver).unwrap()
}
