//! The catalogue: all host checks by name, and `host_tests!`, which makes a test of each.
//!
//! Both come from one list, so that an adapter can't miss a rule.

use super::{HostCheck, ends, serving, sockets, waits, work};

/// Makes the table of checks, and the macro that names them all.
macro_rules! catalogue {
    ($dollar:tt $($rule:literal $file:ident::$name:ident),* $(,)?) => {
        /// All checks of host rules.
        pub const CHECKS: &[HostCheck] = &[
            $(HostCheck { rule: $rule, name: stringify!($name), check: $file::$name }),*
        ];

        /// Makes one test of each host rule. Takes an expression that starts the host: it is
        /// evaluated for each test anew, on the test's thread.
        ///
        /// ```
        /// # mod conformance {
        /// gateway_conformance::host_tests!(gateway_blocking::Blocking::new(2).unwrap());
        /// # }
        /// ```
        #[macro_export]
        macro_rules! host_tests {
            ($dollar host:expr) => {
                $(
                    #[test]
                    fn $name() {
                        $crate::host::test(stringify!($name), || $dollar host);
                    }
                )*
            };
        }
    };
}

catalogue! { $
    // waits.rs
    "YLD-01" waits::yld_01_each_kind_of_yield_is_answered,
    "YLD-02" waits::yld_02_a_yield_is_answered_once_with_its_own_result,
    "YLD-03" waits::yld_03_nothing_is_polled_after_its_end,
    "YLD-04" waits::yld_04_the_stack_stays_as_it_is,
    "YLD-05" waits::yld_05_one_that_never_rests_starves_nobody,
    "YLD-06" waits::yld_06_yields_take_effect_in_their_order,
    "YLD-07" waits::yld_07_a_timer_is_never_early,
    "YLD-08" waits::yld_08_no_wake_up_is_lost,
    "YLD-09" waits::yld_09_a_late_wake_up_does_no_harm,
    "YLD-11" waits::yld_11_a_join_waits_for_all_at_once,
    "YLD-12" waits::yld_12_a_lost_select_is_forgotten,
    "YLD-13" waits::yld_13_kinds_of_yields_mix,
    "YLD-15" waits::yld_15_each_timer_ends_by_itself,
    "YLD-16" waits::yld_16_the_latest_waker_counts,
    "YLD-20" waits::yld_20_a_coroutine_may_be_polled_on_any_thread,
    "YLD-21" waits::yld_21_what_waits_is_not_polled_again_and_again,
    "YLD-22" waits::yld_22_a_wake_up_never_polls,
    "YLD-26" waits::yld_26_wakers_may_take_other_waits_along,
    "YLD-27" waits::yld_27_a_host_at_rest_needs_no_processor,
    // sockets.rs
    "YLD-10" sockets::yld_10_readiness_is_never_lost,
    "YLD-14" sockets::yld_14_the_end_stays_the_end,
    "YLD-17" sockets::yld_17_both_directions_are_waited_for_at_once,
    "YLD-18" sockets::yld_18_every_kind_of_descriptor_is_waited_for,
    "YLD-19" sockets::yld_19_a_descriptor_number_may_be_used_again,
    "YLD-23" sockets::yld_23_many_waits_at_once,
    "YLD-24" sockets::yld_24_a_writer_waits_for_room,
    "YLD-25" sockets::yld_25_a_refused_connection_is_an_error_to_its_own,
    // work.rs
    "EXE-03" work::exe_03_a_cancelled_job_is_discarded,
    "EXE-05" work::exe_05_a_job_runs_once_and_on_another_thread,
    "EXE-06" work::exe_06_a_blocked_job_delays_nothing,
    "EXE-07" work::exe_07_jobs_that_wait_for_each_other_all_run,
    "EXE-08" work::exe_08_more_jobs_than_threads_wait_their_turn,
    "EXE-09" work::exe_09_a_jobs_result_arrives_at_its_handle,
    "EXE-10" work::exe_10_a_job_without_its_handle_goes_on,
    "SPN-03" work::spn_03_a_task_is_not_polled_inside_its_yield,
    "SPN-04" work::spn_04_ten_thousand_tasks_all_run,
    "SPN-05" work::spn_05_a_task_outlives_the_task_that_spawned_it,
    "SPN-06" work::spn_06_a_task_outlives_the_run_that_spawned_it,
    "SPN-07" work::spn_07_a_cancelled_task_is_dropped_where_it_waits,
    "SPN-08" work::spn_08_a_tasks_result_arrives_wherever_it_is_awaited,
    "SPN-09" work::spn_09_a_task_that_has_ended_is_dropped,
    // ends.rs
    "RUN-01" ends::run_01_run_gives_what_the_future_gives,
    "RUN-02" ends::run_02_a_panic_reaches_the_caller_and_no_further,
    "RUN-03" ends::run_03_run_again_and_again,
    "RUN-04" ends::run_04_hosts_do_not_disturb_each_other,
    "DRP-03" ends::drp_03_dropped_at_any_yield_all_is_gone,
    "DRP-06" ends::drp_06_a_destructor_may_yield,
    "DRP-07" ends::drp_07_no_task_is_left_in_limbo_by_a_dropped_host,
    "DRP-08" ends::drp_08_nobody_waits_for_a_host_that_is_gone,
    "DRP-09" ends::drp_09_a_destructor_may_yield_while_its_host_is_dropped,
    "DRP-10" ends::drp_10_a_wait_may_change_threads,
    "DRP-12" ends::drp_12_hosts_leave_nothing_behind,
    "ERR-04" ends::err_04_a_panic_arrives_where_the_work_is_awaited,
    "ERR-08" ends::err_08_a_thousand_panics_lose_no_worker,
    // serving.rs
    "RUN-05" serving::run_05_twenty_requests_wait_beside_each_other,
    "RUN-06" serving::run_06_a_server_drains,
    "DRP-04" serving::drp_04_what_is_sent_to_nobody_gives_an_error,
    "SPN-02" serving::spn_02_a_scoped_task_ends_with_its_request,
    "DRP-11" serving::drp_11_a_gone_client_costs_nothing_more,
    "ERR-06" serving::err_06_no_second_head_follows_the_first,
    "ERR-09" serving::err_09_a_panic_is_a_500_and_the_connection_goes_on,
    "RSP-04" serving::rsp_04_bytes_beyond_the_announced_length_are_not_sent,
    "RSP-05" serving::rsp_05_an_apps_hop_by_hop_fields_stay_at_home,
    "RSP-08" serving::rsp_08_each_request_has_one_final_response,
    "SMG-07" serving::smg_07_no_line_end_of_an_app_reaches_the_wire,
    "MID-02" serving::mid_02_middleware_nests,
    "BODY-11" serving::body_11_a_body_cut_off_is_an_error_and_no_end,
}
