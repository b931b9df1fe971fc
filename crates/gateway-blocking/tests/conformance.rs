//! Every host rule as a test of this host.

gateway_conformance::host_tests!(gateway_blocking::Blocking::new(2).unwrap());
