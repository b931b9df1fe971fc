//! The catalogue: all host checks by name, and `host_tests!`, which makes a test of each.
//!
//! Both come from one list, so that an adapter can't miss a rule.

use super::{HostCheck, waits};

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
    "YLD-07" waits::yld_07_a_timer_is_never_early,
    // sockets.rs
    // work.rs
    // ends.rs
    // serving.rs
}
