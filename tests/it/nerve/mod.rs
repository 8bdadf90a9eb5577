//! `nerve` as its users meet it: config in, znodes out.

mod faults;
mod lifecycle;
mod shapes;

/// A client that has nothing to do with the program under test.
type Independent = zookeeper_client::Client;
