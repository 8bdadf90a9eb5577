//! Loopback relay between the client crate and the ensemble.
