//! What is not a command is refused with its reason, to the partner and to the operator, and the next message is handled.
//!
//! The same table goes through every broker and store. What only RabbitMQ can be sent is in `forged`, what breaks the worker's own
//! code in `panics`.

#[path = "refuses_clearly/bad.rs"]
mod bad;
#[path = "refuses_clearly/forged.rs"]
mod forged;
#[path = "refuses_clearly/panics.rs"]
mod panics;
#[path = "refuses_clearly/repeats.rs"]
mod repeats;

use anyhow::Result;
use clawback_tests::in_process::{Plant, Setup, Stage};

/// Everything that holds on any parts.
async fn refuses_clearly(plant: Plant) -> Result<()> {
    tokio::try_join!(
        bad::each_becomes_a_dead_letter_and_an_event_and_the_next_message_is_handled(&plant),
        repeats::of_the_same_command_call_nothing_and_tell_the_same_event(&plant),
        repeats::with_another_body_are_conflicts(&plant),
        repeats::a_closed_partner_is_told_so_and_what_is_open_goes_on(&plant),
        panics::of_the_call_leave_the_row_to_its_due_time(&plant),
        panics::of_the_first_poll_leave_its_session_stored(&plant),
        panics::several_while_polling_end_in_review(&plant),
    )?;
    plant.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_and_the_model() -> Result<()> {
    refuses_clearly(Plant::in_memory().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_and_sqlite() -> Result<()> {
    refuses_clearly(Plant::on_sqlite().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rabbitmq_and_postgresql() -> Result<()> {
    refuses_clearly(Plant::on_servers().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_only_an_amqp_client_can_forge_change_nothing() -> Result<()> {
    let plant = Plant::on_servers().await?;
    forged::headers_reach_nobody_else_and_are_not_believed(&plant).await?;
    plant.close().await;
    Ok(())
}

async fn stage(plant: &Plant, name: &str) -> Result<Stage> {
    Stage::set(plant, name, Setup::default()).await
}
