//! The catalogue: all host checks by name, and `host_tests!`, which makes a test of each.
//!
//! Both come from one list, so that an adapter can't miss a rule.

use super::{HostCheck, sockets, waits};

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
    // ends.rs
    // serving.rs
}
