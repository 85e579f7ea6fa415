//! What a store is: one suite that the model in memory and both SQL stores pass.
//!
//! Each rule is a function that is handed an empty, migrated store; [`suite!`] lists them all, and each becomes a named test of
//! each implementation. A rule that is not listed is dead code and does not compile without a warning. No rule knows which
//! implementation it runs on.

mod build;
mod sale;
mod stage;
mod watch;

mod applying;
mod auditing;
mod auditing_sales;
mod cases;
mod claiming;
mod deliveries;
mod events;
mod expiring;
mod facts;
mod inserting;
mod letters;
mod lifting;
mod listing;
mod looks;
mod model;
mod model_sales;
mod pauses;
mod poison;
mod pulls;
mod retention;
mod round_trip;
mod sales;
mod schema;
mod sellbacks;
mod unexplained;
mod users;
mod warnings;

macro_rules! suite {
    ($($module:ident { $($rule:ident,)* })*) => {
        suite!(@ memory $($module { $($rule,)* })*);
        suite!(@ sqlite $($module { $($rule,)* })*);
        suite!(@ postgres $($module { $($rule,)* })*);
    };
    (@ $implementation:ident $($module:ident { $($rule:ident,)* })*) => {
        mod $implementation {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    crate::stage::$implementation(crate::$module::$rule).await;
                })*
            })*
        }
    };
}

suite! {
    inserting {
        a_new_command_is_stored_with_its_attempt_and_its_timeline,
        a_command_that_is_not_called_has_no_attempt,
        a_repeat_finds_the_row_as_it_stands_and_writes_nothing,
        another_command_under_the_same_request_id_sees_the_digest_of_the_first,
        one_request_id_of_two_partners_is_two_purchases,
        of_equal_commands_inserted_at_once_exactly_one_is_new,
        five_hundred_commands_at_once_are_all_stored,
    }
    applying {
        a_change_fits_the_version_it_was_computed_from,
        a_change_brings_everything_with_it,
        what_joins_a_draft_in_time_is_one_write_with_it,
        a_draft_is_written_as_it_was_when_it_was_taken,
        a_lost_change_leaves_nothing_but_its_fact,
        a_change_of_a_purchase_that_is_not_there_is_lost,
        a_change_cannot_skip_a_version,
        of_changes_of_one_row_at_once_exactly_one_wins,
        nothing_of_the_losers_is_written,
        rows_that_are_written_again_and_again_count_every_write,
        five_hundred_purchases_at_once_are_all_fulfilled,
        the_write_of_a_caller_that_went_away_is_whole_or_absent,
    }
    facts {
        a_fact_is_written_once,
        a_fact_is_written_by_its_token_only,
        a_fact_is_written_whatever_became_of_its_purchase,
        a_fact_in_a_change_is_written_once,
        a_bare_session_reads_as_an_answer_without_items,
        a_bare_session_and_an_answer_do_not_replace_each_other,
        of_facts_of_one_token_at_once_the_first_stands,
        every_answer_reads_back_equal,
        an_answer_with_ten_thousand_items_reads_back_equal,
        attempts_stand_in_their_order,
    }
    poison {
        a_poisoned_insert_among_99_good_ones_is_refused_alone,
        a_poisoned_change_among_99_good_ones_is_refused_alone,
        a_poisoned_fact_among_99_good_ones_is_refused_alone,
        of_a_refused_change_not_even_the_fact_is_written,
        a_refused_row_can_be_written_again_rightly,
    }
    claiming {
        what_is_due_is_claimed_and_what_is_not_is_left,
        the_longest_overdue_are_claimed_first,
        a_claim_moves_the_row_on_and_takes_its_next_number,
        each_claim_doubles_the_wait_up_to_a_cap,
        a_turn_ends_the_doubling,
        a_claim_never_moves_a_row_past_its_end,
        a_final_row_is_never_claimed,
        rows_of_excepted_partners_are_left,
        a_change_computed_before_a_claim_is_lost,
        claimers_side_by_side_never_claim_the_same_row,
    }
    lifting {
        lifted_rows_become_due_spread_over_the_rate,
        only_the_codes_that_are_lifted_are_touched,
        a_scope_covers_what_it_names,
        a_lift_takes_the_rows_next_number,
        a_lift_never_delays_a_row,
        a_lift_of_nothing_is_nothing,
    }
    deliveries {
        a_webhook_begins_with_what_happens_after_it_is_known,
        a_webhook_of_an_empty_store_misses_nothing,
        each_webhook_gets_its_own_partners_events_once,
        a_claimed_delivery_comes_due_again_when_its_lease_is_over,
        the_second_delivery_of_a_subject_waits_for_the_first,
        what_was_given_up_holds_nobody_up,
        a_delivered_event_is_never_claimed_again,
        a_late_failure_changes_nothing_and_a_late_success_does,
        an_endpoint_that_fails_over_and_over_is_held_and_then_probed_once,
        a_success_between_failures_keeps_an_endpoint_open,
        a_wish_for_a_pause_holds_the_endpoint,
        an_endpoint_that_is_gone_gets_nothing_until_it_is_enabled,
        a_replay_sends_what_happened_since_with_the_same_ids,
        one_event_is_replayed_by_its_id,
        workers_side_by_side_deliver_each_event_once,
        events_that_are_committed_at_once_are_all_delivered,
        a_reason_with_a_nul_is_refused,
    }
    events {
        an_event_is_left_to_the_hot_path_until_its_first_look,
        a_claimed_event_is_left_alone_until_its_next_look,
        a_claim_takes_no_more_than_its_limit,
        the_second_event_of_a_subject_waits_for_the_first,
        events_of_different_subjects_do_not_wait_for_each_other,
        a_marked_event_is_not_claimed_again,
        marking_twice_keeps_the_first_mark,
        an_unrouted_event_is_kept_and_counts_as_sent,
        a_subject_without_events_has_no_unsent_predecessor,
        the_last_event_of_a_subject_has_the_highest_sequence,
        every_field_of_an_event_reads_back_equal,
        a_body_of_megabytes_is_kept_whole,
        events_are_read_in_order_of_their_positions,
        relays_side_by_side_never_claim_the_same_event,
        many_marks_at_once_all_stand,
    }
    letters {
        a_dead_letter_reads_back_equal,
        a_dead_letter_is_buried_once_with_its_event,
        of_equal_burials_at_once_exactly_one_is_the_first,
        the_event_of_a_dead_letter_is_relayed_like_any_other,
        dead_letters_are_listed_newest_first,
        a_dead_letter_is_settled_once,
    }
    pauses {
        every_scope_is_a_pause_of_its_own,
        pausing_what_is_paused_keeps_the_first_pause,
        of_equal_pauses_at_once_exactly_one_is_the_first,
        resuming_ends_one_pause,
        what_was_resumed_can_be_paused_again,
    }
    listing {
        purchases_are_listed_newest_or_oldest_first,
        a_page_goes_on_where_the_last_one_ended,
        every_filter_narrows_the_list,
        counts_are_per_partner_and_state,
        what_is_not_there_reads_as_nothing,
    }
    auditing {
        empty_books_are_sound,
        sound_books_have_no_differences,
        the_worth_of_pulls_is_added_exactly,
        what_was_spent_is_added_exactly,
        a_purchase_with_too_few_or_too_many_pulls_is_named,
        a_recovered_purchase_may_have_another_number_of_pulls,
        an_attempt_that_is_counted_and_not_stored_is_named,
        a_called_purchase_without_any_attempt_is_named,
        a_session_of_a_purchase_that_has_another_is_an_orphan,
        a_session_of_a_purchase_that_failed_without_one_is_an_orphan,
        the_session_of_what_was_recovered_without_one_is_no_orphan,
        an_open_purchase_is_overdue_after_an_hour,
        an_event_is_stuck_after_a_minute,
        the_event_of_a_dead_letter_may_be_stuck_too,
        an_end_that_is_told_as_something_else_is_named,
        an_event_that_is_gone_is_missed,
        a_purchase_that_is_gone_is_missed,
        a_state_that_is_none_counts_nowhere,
        an_open_purchase_that_is_never_due_is_named,
        since_leaves_out_what_was_accepted_before,
        of_many_differences_all_are_counted_and_some_are_named,
    }
    auditing_sales {
        sound_books_of_sellbacks_have_no_differences,
        what_sellbacks_brought_is_added_to_the_millionth,
        a_sold_sellback_without_its_attempt_is_named,
        an_open_sellback_is_overdue_after_an_hour,
        a_sale_that_is_told_as_something_else_is_named,
        an_event_of_a_sellback_that_is_gone_is_missed,
        an_event_of_a_sellback_may_be_stuck,
        a_state_that_is_no_sellbacks_counts_nowhere,
        sellbacks_accepted_before_are_left_out,
    }
    pulls {
        every_field_of_a_pull_reads_back_equal,
        pulls_of_a_user_come_from_all_purchases_oldest_first,
        ten_thousand_pulls_of_one_purchase_are_stored,
    }
    cases {
        nothing_bears_on_a_user_who_never_bought,
        a_case_holds_what_is_open_with_its_attempts_and_every_pull,
        a_case_is_bounded_and_says_so,
        a_ruling_raises_the_case_of_its_user,
        a_change_without_a_ruling_does_not_raise_the_case,
        of_two_rulings_on_one_version_the_second_is_lost,
        what_was_told_stands_and_raises_the_case,
        of_many_rulings_on_one_version_at_once_exactly_one_is_committed,
        rulings_again_and_again_all_come_through,
        rulings_about_different_users_do_not_meet,
        a_ruling_that_is_lost_writes_nothing_but_its_fact,
        a_ruling_that_is_lost_begins_no_attempt,
        a_ruling_on_a_version_that_is_not_there_is_lost,
        a_ruling_about_a_purchase_that_moved_on_is_lost,
        a_ruling_that_is_refused_does_not_raise_the_case,
        a_case_remembers_when_a_person_had_one_called_again,
        a_ruling_that_joins_a_draft_is_kept,
        of_rulings_that_join_drafts_on_their_way_exactly_one_is_committed,
        a_case_is_of_one_moment,
    }
    looks {
        what_looks_show_makes_how_a_pull_stands,
        an_older_look_changes_nothing,
        a_look_is_kept_with_each_pull_by_itself,
        pulls_that_are_not_known_are_ignored,
        a_look_tells_expiry_and_price,
        a_pull_that_a_look_names_twice_counts_as_it_is_named_first,
        a_look_at_ten_thousand_pulls_is_kept,
        of_looks_at_once_the_newest_stands,
        looks_and_fulfilments_do_not_disturb_each_other,
    }
    unexplained {
        every_field_of_an_orphan_reads_back_equal,
        an_orphan_is_new_once_and_keeps_when_it_was_found,
        orphans_differ_by_partner_user_item_and_time,
        what_is_claimed_is_no_orphan,
        a_case_tells_what_looks_left_unexplained,
        an_orphan_that_is_named_twice_is_one,
        orphans_are_listed_oldest_first,
        what_is_explained_is_forgotten_by_its_key,
        an_orphan_with_a_nul_is_refused,
        of_equal_findings_at_once_each_is_new_once,
        who_records_and_who_forgets_at_once_do_not_fail_for_each_other,
        an_audit_tells_of_orphans,
        of_many_orphans_all_are_counted_and_some_are_named,
    }
    users {
        a_fulfilment_makes_its_user_due,
        purchases_of_one_user_that_are_fulfilled_at_once_all_count,
        a_fulfilment_makes_nobody_due_later,
        users_who_are_due_are_claimed_earliest_first,
        each_claim_of_a_user_doubles_the_wait_until_a_turn,
        claimers_side_by_side_never_claim_the_same_user,
        settings_are_kept_and_make_their_user_due,
        a_turn_with_nothing_ahead_leaves_its_user_alone,
        who_wants_a_look_is_never_left_without_a_due_time,
        a_look_that_is_wanted_meanwhile_stays_wanted,
        turns_purchases_and_looks_at_once_do_not_disturb_each_other,
    }
    warnings {
        what_a_turn_plans_reads_back_in_order_of_pull_and_lead_time,
        a_digest_tells_what_is_planned_still_and_held,
        a_digest_of_which_nothing_is_left_is_no_event,
        events_of_a_user_are_numbered_in_their_order,
        that_a_window_closed_is_said_once_and_not_of_what_was_sold,
        what_was_offered_for_sale_is_marked,
        a_turn_that_does_not_fit_writes_nothing,
        of_two_turns_of_one_version_at_once_one_stands,
    }
    expiring {
        a_crowd_is_the_users_with_a_lead_time_in_the_span,
        every_filter_narrows_the_list_of_warnings,
        what_expires_unsold_is_told_earliest_first,
        what_is_being_sold_is_told_until_it_is_settled,
    }
    retention {
        an_event_of_no_order_goes_when_it_is_old_and_sent,
        the_last_event_of_a_subject_that_goes_on_stays,
        an_event_waits_for_its_webhook_and_goes_with_its_delivery,
        a_dead_letter_goes_after_it_was_settled_and_its_event_is_gone,
        the_timeline_of_what_ended_goes_and_of_nothing_else,
        what_is_left_of_an_order_still_tells_a_repeat_from_a_conflict,
        a_pruned_order_is_found_by_its_request_and_listed_no_more,
        an_audit_counts_pruned_orders_apart,
        an_order_is_kept_while_an_event_of_it_did_not_get_out,
        a_sold_pull_goes_with_its_purchase_and_every_other_stays,
        a_page_goes_on_where_the_last_one_ended_whatever_stays,
        of_several_who_prune_at_once_each_thing_is_removed_by_one,
    }
    round_trip {
        every_state_reads_back_equal,
        every_wait_code_reads_back_equal,
        every_failure_and_review_code_reads_back_equal,
        the_longest_ids_read_back_equal,
        times_are_kept_to_the_microsecond,
        the_largest_counters_read_back_equal,
        a_command_reads_back_with_everything_the_partner_gave,
        a_timeline_reads_back_in_order,
    }
    sellbacks {
        a_sellback_reads_back_with_everything_the_partner_gave,
        every_state_of_a_sellback_reads_back_equal,
        every_wait_and_failure_code_of_a_sellback_reads_back_equal,
        a_request_id_is_one_order_of_whichever_kind,
        of_a_purchase_and_a_sellback_at_once_one_is_new,
        a_sellback_brings_its_attempt_its_fact_its_event_and_its_timeline,
        every_answer_to_a_sellback_reads_back_equal,
        sellbacks_are_claimed_beside_purchases,
        lifting_tells_the_kinds_apart,
        kinds_are_listed_and_counted_apart,
        a_poisoned_sellback_is_refused_alone,
        a_case_of_purchases_holds_no_sellback,
        an_item_and_a_pull_are_different_targets,
    }
    sales {
        a_second_sale_of_an_item_is_refused_and_its_neighbours_stand,
        of_many_doors_of_one_item_at_once_exactly_one_opens,
        an_item_is_free_when_its_sale_is_settled_and_not_before,
        a_door_may_open_while_another_shuts,
        a_sale_marks_its_pull_and_raises_the_case,
        a_sale_that_is_lost_marks_nothing,
        a_pull_is_given_away_once,
        a_pull_of_another_user_is_not_given_away,
        many_sales_at_once_all_mark_their_pulls,
        a_sale_case_tells_who_else_may_hold_the_item,
        a_sale_case_of_a_pull_is_that_pulls_and_of_its_item,
        a_sale_case_tells_the_last_sales_newest_first,
        every_sale_of_an_item_leaves_a_trace,
        a_sale_case_tells_the_copies_that_a_look_has_to_show,
    }
    schema {
        migrating_again_changes_nothing,
        several_processes_may_migrate_at_once,
        what_one_handle_wrote_another_reads,
        the_store_tells_its_time,
    }
}
