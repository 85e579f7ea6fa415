//! How far each partner has come, live on a terminal.

use std::time::{Duration, Instant};

use clawback_domain::{PartnerId, pause::CommandKind, purchase::StateName};
use clawback_store::Counts;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    plant::{Plant, partner_ids},
    workload::Workload,
};
use crate::failure::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A bar per partner.
pub struct Bars {
    all: MultiProgress,
    bars: Vec<(PartnerId, ProgressBar)>,
}

impl Bars {
    pub fn new(live: bool, workload: &Workload) -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("  {prefix:14} {bar:30} {pos:>4}/{len} ended  {msg}");
        let style = style.expect("the template is constant");
        let bar = |partner: PartnerId| {
            let total = workload.of(&partner).count() as u64;
            let bar = if live { all.add(ProgressBar::new(total)) } else { ProgressBar::hidden() };
            bar.set_style(style.clone());
            bar.set_prefix(partner.to_string());
            (partner, bar)
        };
        Self { bars: partner_ids().into_iter().map(bar).collect(), all }
    }

    fn show(&self, counts: &Counts) {
        for (partner, bar) in &self.bars {
            let count = |state| counts.get(&(partner.clone(), CommandKind::Purchase, state)).copied().unwrap_or_default();
            let (fulfilled, failed, review) = (count(StateName::Fulfilled), count(StateName::Failed), count(StateName::Review));
            bar.set_position(fulfilled + failed + review);
            let (pending, doubt) = (count(StateName::Pending), count(StateName::Reconciling));
            bar.set_message(format!(
                "{fulfilled} fulfilled, {failed} failed, {review} in review; {pending} pending, {doubt} in doubt"
            ));
        }
    }

    pub fn clear(&self) {
        // Bars that cannot be removed stay on the screen.
        let _ = self.all.clear();
    }
}

/// How long it took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Until all but those in doubt had ended.
    pub most: Duration,
    pub all: Duration,
}

/// Waits until every purchase has ended, or waits for a person, or the deadline is over.
///
/// # Errors
/// The store's.
pub async fn until_settled(plant: &Plant, workload: &Workload, bars: &Bars, deadline: Instant) -> Result<Took, Failure> {
    let began = Instant::now();
    let total = workload.asked.len() as u64;
    let mut most = None;
    while Instant::now() < deadline {
        let counts = plant.store.counts().await?;
        bars.show(&counts);
        let settled = sum(&counts, StateName::is_announced);
        let in_doubt = sum(&counts, |state| state == StateName::Reconciling);
        if settled + in_doubt >= total {
            most.get_or_insert(began.elapsed());
        }
        if settled >= total {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let all = began.elapsed();
    Ok(Took { most: most.unwrap_or(all), all })
}

fn sum(counts: &Counts, of: impl Fn(StateName) -> bool) -> u64 {
    counts.iter().filter(|((_, _, state), _)| of(*state)).map(|(_, count)| count).sum()
}
