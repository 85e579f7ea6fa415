//! Do polls that the upstream holds for seconds slow inits down? In production `buy/status` holds a call in a window, so that nearly
//! every purchase has a poll in flight while others begin.

use anyhow::{Context, Result};
use clawback_tests::wait::until;

use crate::{
    ground::{Ground, Load, Schema},
    pipeline::RUN,
    product::{self, Roles},
};

const UPSTREAM: [&str; 8] = ["--mode", "production", "--latency", "20ms", "--poll-window", "5s", "--settle", "8s"];

/// `buy/init` calls per second while polls are held.
pub async fn measure(ground: &mut Ground, purchases: usize) -> Result<f64> {
    let run = ground.run(Schema::Clawback, &UPSTREAM, Load::of(purchases)).await?;
    ground.preload(&run).await?;
    ground.checkpoint().await?;
    let roles = Roles::start(ground, &run, 1).await?;
    until("every purchase is called", RUN, || async {
        let answered = product::answered(&run).await.map_err(|error| error.to_string())?;
        if answered == purchases { Ok(()) } else { Err(format!("{answered} are")) }
    })
    .await?;
    let inits = product::inits_per_second(&run).await?;
    ground.all_out(purchases, RUN).await.context("after the inits")?;
    product::outcome(&run).await?;
    roles.stop().await?;
    run.check_ledger().await?;
    ground.sweep().await?;
    Ok(inits)
}
