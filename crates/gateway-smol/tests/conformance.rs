//! Every host rule as a test of this host.

gateway_conformance::host_tests!(gateway_smol::Smol::new(2).unwrap());
