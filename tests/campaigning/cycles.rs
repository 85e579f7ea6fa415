//! Publish, break, mend, wait until it works; again and again. Then the audit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use clawback_tests::rehearsal::{Books, Order, Stage, orders};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    Options,
    chance::{Chance, Deck},
    flow::Batch,
    record::Record,
    recovery::{PATIENCE, Watch},
    sellers::Sellers,
    site::{Site, Spoilt},
    troubles::{self, How, Struck, TROUBLES, Trouble},
    verdict::{Asking, Verdict},
    windows,
};

/// A purchase takes a second and a half here: any of its lines may be the one that a trouble finds.
const PHASE: Duration = Duration::from_millis(1_500);
/// Every trouble ends by itself well before; this bounds what hangs.
const CYCLE: Duration = Duration::from_secs(300);
/// Enough for a process that shall die over one to get one.
const SPOILT_A_CYCLE: usize = 4;

/// Runs the campaign to its last line. Whether every promise was kept.
pub async fn run(options: &Options) -> Result<bool> {
    let (seed, began) = (options.seed(), Instant::now());
    let (mut chance, mut deck) = (Chance::new(seed), Deck::new(chosen(&options.only)?));
    eprintln!("campaign: {} cycles, {} purchases, --seed {seed}", options.cycles(), options.purchases());
    let mut campaign = Campaign::begin(options, seed).await?;
    for cycle in 1..=options.cycles() {
        let trouble = deck.draw(&mut chance);
        let result = timeout(CYCLE, campaign.cycle(cycle, &trouble, &mut chance)).await;
        if let Err(error) = result.context("it hangs").and_then(|result| result) {
            // What is broken beyond repair is audited as it is.
            campaign.record.wrong.push(format!("cycle {cycle}, {}: {error:#}", trouble.name));
            break;
        }
    }
    let kept = campaign.end(options, began).await;
    if let Some(folder) = &options.logs {
        campaign.site.keep_logs(folder)?;
    }
    kept
}

fn chosen(only: &[String]) -> Result<Vec<Trouble>> {
    let wanted = |trouble: &Trouble| only.is_empty() || only.iter().any(|part| trouble.name.contains(part.as_str()));
    let chosen: Vec<_> = TROUBLES.into_iter().filter(wanted).collect();
    let names: Vec<_> = TROUBLES.iter().map(|trouble| trouble.name).collect();
    ensure!(!chosen.is_empty(), "no such trouble; there are: {}", names.join(", "));
    Ok(chosen)
}

type Flow = JoinHandle<Result<()>>;

struct Campaign {
    site: Site,
    watch: Watch,
    orders: Vec<Order>,
    sellers: Sellers,
    spoilt: Vec<Spoilt>,
    cycles: usize,
    record: Record,
}

impl Campaign {
    async fn begin(options: &Options, seed: u64) -> Result<Self> {
        let site = Site::set().await?;
        if let Err(why) = &site.disk {
            eprintln!("campaign: the disk of the store will not be filled: {why:#}");
        }
        let watch = Watch::start(site.database()).await?;
        let orders = orders(options.purchases(), &site.stage.partners)?;
        let record = Record { seed, ..Record::default() };
        let sellers = Sellers::default();
        Ok(Self { site, watch, orders, sellers, spoilt: Vec::new(), cycles: options.cycles(), record })
    }

    async fn cycle(&mut self, cycle: usize, trouble: &Trouble, chance: &mut Chance) -> Result<()> {
        let began = Instant::now();
        let (struck, flow) = self.strike(cycle, trouble, chance).await?;
        let over = Instant::now();
        self.record.wrong.extend(self.site.crew.mend(&mut self.site.stage)?);
        let open = self.watch.began(cycle, trouble.name, over).await?;
        self.site.serves().await?;
        self.watch.serves(cycle).await;
        flow.await??;
        self.site.stored().await?;
        self.record.cycles = cycle;
        let said = self.record.count(trouble.name, struck);
        eprintln!(
            "{cycle:4}/{} {}: {:.1} s and {:.1} s until it worked, {open} rows open, {} recoveries under way{said}",
            self.cycles,
            trouble.name,
            (over - began).as_secs_f64(),
            over.elapsed().as_secs_f64(),
            self.watch.under_way().await,
        );
        Ok(())
    }

    /// Commands come before the trouble, in it and after it: what is still to come is on its way.
    async fn strike(&mut self, cycle: usize, trouble: &Trouble, chance: &mut Chance) -> Result<(Struck, Flow)> {
        let (batch, amqp) = (self.batch(cycle).await?, self.site.rabbitmq.url());
        match trouble.how {
            How::Anytime(strike) => {
                let flow = tokio::spawn(batch.flow(amqp));
                sleep(chance.span(PHASE)).await;
                Ok((strike(&mut self.site, chance).await?, flow))
            }
            How::Stored(strike) => {
                batch.burst(amqp).await?;
                self.site.stored().await?;
                Ok((strike(&mut self.site, chance).await?, tokio::spawn(async { Ok(()) })))
            }
            How::At(duty, point) => {
                let doomed = troubles::doom(&mut self.site, chance, duty, point).await?;
                let flow = tokio::spawn(batch.flow(amqp));
                Ok((troubles::until_dead(&mut self.site, point, doomed).await?, flow))
            }
        }
    }

    /// This cycle's share of the purchases, sales of what was bought before, and some commands that nobody can read.
    async fn batch(&mut self, cycle: usize) -> Result<Batch> {
        let until = |cycle: usize| self.orders.len() * cycle / self.cycles;
        let (before, orders) = self.orders[..until(cycle)].split_at(until(cycle - 1));
        self.site.stage.upstream().set_windows(windows::of_cycle(cycle, self.cycles)).await?;
        let sales = self.sellers.ask(&self.site.stage, before).await?;
        let spoilt = Spoilt::of_cycle(cycle, SPOILT_A_CYCLE, &self.site.stage.partners);
        self.site.expect(orders, &sales);
        self.spoilt.extend_from_slice(&spoilt);
        Ok(Batch { orders: orders.into(), sales: sales.into(), spoilt: spoilt.into() })
    }

    async fn end(&mut self, options: &Options, began: Instant) -> Result<bool> {
        let published = self.orders.len() * (self.record.cycles + 1).min(self.cycles) / self.cycles;
        let (orders, sales, stage) = (&self.orders[..published], self.sellers.asked(), &self.site.stage);
        if let Err(error) = rest(stage, orders.len(), sales.len()).await {
            self.record.wrong.push(format!("it does not come to rest: {error:#}"));
        }
        if let Err(error) = windows::shut(stage, orders, self.site.database()).await {
            self.record.wrong.push(format!("not every window shuts: {error:#}"));
        }
        self.record.wrong.extend(self.watch.too_long().await);
        self.record.recoveries = self.watch.took().await;
        let unrouted = self.site.unrouted().await?;
        if unrouted > 0 {
            self.record.wrong.push(format!("{unrouted} messages found no queue"));
        }
        self.record.seconds = began.elapsed().as_secs();
        let (books, at) = (Books::read(stage).await?, Utc::now());
        let held = windows::held(stage, &books).await?;
        let asking = Asking { orders, spoilt: &self.spoilt, sales, held: &held, at };
        let verdict = Verdict::on(books, asking);
        verdict.show_wrong(&self.record);
        println!("{}", verdict.json(&self.record, asking));
        Ok(verdict.is_sound(&self.record) && options.cycles() == self.record.cycles)
    }
}

/// Completes when every purchase and every sellback has come to its end, or to a person.
pub async fn rest(stage: &Stage, orders: usize, sales: usize) -> Result<()> {
    eprintln!("campaign: waiting until everything rests");
    stage.ended(orders, PATIENCE).await?;
    stage.sold(sales, PATIENCE).await
}
