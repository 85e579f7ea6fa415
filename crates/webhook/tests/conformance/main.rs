//! What every receiver promises, checked on each implementation: a server over HTTP and the recorder in memory.

mod answers;
mod arrivals;
mod fixture;
#[allow(dead_code, reason = "each test file uses its own part")]
#[path = "../support/mod.rs"]
mod support;

/// Runs each function of the suite as a test of both implementations.
macro_rules! conformance {
    ($($promises:ident: $($test:ident),+ $(,)?;)+) => {
        mod recorder {
            $($(
                #[tokio::test]
                async fn $test() {
                    crate::$promises::$test::<crate::fixture::InMemory>().await;
                }
            )+)+
        }

        mod https {
            $($(
                #[tokio::test]
                async fn $test() {
                    crate::$promises::$test::<crate::fixture::OverHttp>().await;
                }
            )+)+
        }
    };
}

conformance! {
    answers:
        any_success_is_delivered,
        gone_is_gone,
        every_other_answer_is_tried_again_and_keeps_its_status,
        a_wish_to_wait_is_passed_on_up_to_a_day,
        answers_come_in_the_order_they_were_given;
    arrivals:
        what_arrives_is_what_was_handed_over,
        a_repeat_keeps_its_id_and_carries_its_own_time,
        every_secret_signs,
        replaced_secrets_sign_the_next_delivery,
        a_large_event_arrives_whole,
        deliveries_at_once_all_arrive,
        what_was_not_taken_had_arrived_all_the_same;
}
