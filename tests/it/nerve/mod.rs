//! `nerve` as its users meet it: config in, znodes out.

mod config;
mod damping;
mod endtoend;
mod examples;
mod faults;
mod lifecycle;
mod push;
mod reload;
mod scale;
mod shapes;

/// A client that has nothing to do with the program under test.
type Independent = zookeeper_client::Client;
