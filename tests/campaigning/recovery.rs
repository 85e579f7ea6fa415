//! How long it takes until nothing is left of a trouble.
//!
//! *Recovery* is the time from a trouble's end (the server takes connections again, the network is fair, the killed process's
//! replacement has been started) until all of this holds: every process says that it is ready, every queue is consumed, and **every
//! row that was open at the trouble's end has been written again or rests**. Rows cut off in a call are nobody's until their
//! attempt's deadline, 14 s here, and that wait is counted: a partner feels it. Commands that were no rows yet are waited for, not
//! timed. It is measured while the campaign goes on, so that the next troubles lengthen it; it is seen at the next look, a quarter of a
//! second later at most while the store answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use clawback_domain::{OrderId, order::StateName};
use clawback_store::{
    Filter, Store,
    sql::{self, Options, Sql},
};
use clawback_tests::wait::until;
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, sleep},
};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const STORE_BACK: Duration = Duration::from_secs(60);

/// A row may meet several troubles before it has been written again; more than this is a row that nobody takes up.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Longer than a row that was cut off waits for its deadline: worth a word.
const SLOW: Duration = Duration::from_secs(25);

/// States in which a row is open and nobody is asked.
const OPEN: [StateName; 5] =
    [StateName::Accepted, StateName::Initiating, StateName::Selling, StateName::Pending, StateName::Reconciling];
const MOST: u32 = 10_000;

/// Looks at the store until it drops.
pub struct Watch {
    store: Arc<Sql>,
    recovering: Arc<Mutex<Vec<Recovering>>>,
    looking: JoinHandle<()>,
}

/// Open rows: version and state.
type Rows = BTreeMap<OrderId, (i64, StateName)>;

struct Recovering {
    cycle: usize,
    trouble: &'static str,
    /// When the trouble ended.
    since: Instant,
    /// When `rows` had been read.
    read: Instant,
    /// Rows that have not been written since, with their versions then.
    rows: Rows,
    rows_moved: Option<Instant>,
    serves: Option<Instant>,
}

impl Recovering {
    fn took(&self) -> Option<Duration> {
        Some(self.rows_moved?.max(self.serves?) - self.since)
    }

    fn look_at(&mut self, open: &Rows) {
        let before = std::mem::take(&mut self.rows);
        self.rows = before.iter().filter(|(id, row)| open.get(*id) == Some(*row)).map(|(id, row)| (*id, *row)).collect();
        if !self.rows.is_empty() {
            return;
        }
        let now = Instant::now();
        self.rows_moved = Some(now);
        if let Some((id, (_, state))) = before.first_key_value()
            && now - self.since > SLOW
        {
            let seconds = (now - self.since).as_secs();
            eprintln!(
                "campaign: {seconds} s after {} (cycle {}) {id}, then {state}, is the last to move",
                self.trouble, self.cycle
            );
        }
    }
}

impl Watch {
    pub async fn start(database: &str) -> Result<Self> {
        let store = Arc::new(sql::connect(database, Options::default()).await?);
        let recovering = Arc::new(Mutex::new(Vec::<Recovering>::new()));
        let looking = tokio::spawn(look(store.clone(), recovering.clone()));
        Ok(Self { store, recovering, looking })
    }

    /// A trouble ended at `since`. How many rows were open then.
    pub async fn began(&self, cycle: usize, trouble: &'static str, since: Instant) -> Result<usize> {
        let rows = until("the store can be read", STORE_BACK, || open(&self.store)).await?;
        let (count, read) = (rows.len(), Instant::now());
        let rows_moved = rows.is_empty().then_some(since);
        self.recovering.lock().await.push(Recovering { cycle, trouble, since, read, rows, rows_moved, serves: None });
        Ok(count)
    }

    /// All but the rows has recovered.
    pub async fn serves(&self, cycle: usize) {
        let mut recovering = self.recovering.lock().await;
        if let Some(found) = recovering.iter_mut().find(|found| found.cycle == cycle) {
            found.serves = Some(Instant::now());
        }
    }

    /// How many troubles have not been recovered from yet.
    pub async fn under_way(&self) -> usize {
        self.recovering.lock().await.iter().filter(|found| found.took().is_none()).count()
    }

    /// What took longer than [`PATIENCE`], or still takes.
    pub async fn too_long(&self) -> Vec<String> {
        let recovering = self.recovering.lock().await;
        let late = recovering.iter().filter(|found| found.took().unwrap_or_else(|| found.since.elapsed()) > PATIENCE);
        late.map(|found| {
            let rows: Vec<_> = found.rows.iter().take(3).collect();
            format!("cycle {}, {}: not recovered from within {PATIENCE:?}; not written: {rows:?}", found.cycle, found.trouble)
        })
        .collect()
    }

    /// How long each recovery took, shortest first, and from what.
    pub async fn took(&self) -> Vec<(Duration, &'static str)> {
        let recovering = self.recovering.lock().await;
        let mut took: Vec<_> = recovering.iter().filter_map(|found| Some((found.took()?, found.trouble))).collect();
        took.sort_unstable();
        took
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look(store: Arc<Sql>, recovering: Arc<Mutex<Vec<Recovering>>>) {
    loop {
        sleep(LOOK_EVERY).await;
        let asked = Instant::now();
        // The store may be down: that is what a campaign is for.
        let Ok(open) = open(&store).await else { continue };
        // A question asked before its rows were read does not answer for them.
        for found in recovering.lock().await.iter_mut().filter(|found| found.rows_moved.is_none() && found.read <= asked) {
            found.look_at(&open);
        }
    }
}

/// Every open row.
async fn open(store: &Sql) -> Result<Rows> {
    let mut rows = BTreeMap::new();
    for state in OPEN {
        let found = store.orders(Filter { state: Some(state), limit: MOST, ..Filter::default() }).await?;
        rows.extend(found.into_iter().map(|order| (order.id(), (order.version(), state))));
    }
    Ok(rows)
}
