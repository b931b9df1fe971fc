//! Every host rule as a test of this host.

gateway_conformance::host_tests!(gateway_async_std::AsyncStd::new(2).unwrap());
