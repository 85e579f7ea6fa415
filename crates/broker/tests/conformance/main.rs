//! What every broker promises, checked on each implementation: the embedded one and RabbitMQ.
//!
//! RabbitMQ is the server of `AMQP_URL`, or the one on the standard local port. Each test makes a virtual host of its own with
//! `rabbitmqctl` and removes it.

mod bounds;
mod consuming;
mod fixture;
mod losing;
mod publishing;
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

/// Runs each function of the suite as a test of both implementations.
macro_rules! conformance {
    ($($promises:ident: $($test:ident),+ $(,)?;)+) => {
        mod embedded {
            $($(
                #[tokio::test]
                async fn $test() {
                    crate::$promises::$test(&mut crate::fixture::InMemory::start()).await;
                }
            )+)+
        }

        mod rabbitmq {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$promises::$test(&mut crate::rabbit::RabbitMq::start().await).await;
                }
            )+)+
        }
    };
}

conformance! {
    publishing:
        declaring_twice_is_no_error,
        another_queue_of_the_same_name_is_refused,
        a_check_finds_what_is_missing_and_what_is_other,
        a_command_reaches_its_own_queue_and_no_other,
        an_event_reaches_the_queue_of_its_partner,
        what_nobody_wants_is_unrouted,
        a_command_nobody_wants_goes_to_the_alternate_exchange,
        a_missing_exchange_is_named,
        a_body_that_is_too_large_is_not_sent,
        properties_arrive_as_they_were_sent,
        a_thousand_publishes_are_pipelined,
        each_publish_of_many_hears_its_own_answer;
    consuming:
        deliveries_come_in_order,
        no_more_than_prefetch_are_unacked,
        what_is_acked_never_comes_again,
        acks_out_of_order_all_arrive,
        what_is_requeued_comes_again,
        a_cancelled_consumer_drains_and_its_deliveries_stay_valid,
        what_a_dropped_consumer_held_goes_to_others,
        consumers_share_a_queue,
        a_queue_tells_its_depth_and_its_consumers,
        a_queue_that_does_not_exist_is_named;
    bounds:
        a_full_queue_refuses_and_takes_again_once_there_is_room,
        a_full_event_queue_drops_its_head;
    losing:
        unacked_deliveries_come_again_after_an_interruption,
        a_consumer_survives_the_deletion_of_its_queue,
        a_closed_broker_ends_its_consumers;
}
