//! What the black-box tests are written with.
//!
//! Everything a test starts belongs to its [`lab::Lab`]: a loopback address of its own (so that ports never clash), a
//! directory, scripted [`origin`]s, and the real [`synapse`] binary. Tests wait on *states* with [`wait::eventually`],
//! never on time. Nothing here knows the program's insides: config in, sockets and exit codes out.

pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod gate;
pub(crate) mod lab;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod nerve;
pub(crate) mod oracle;
pub(crate) mod origin;
pub(crate) mod queues;
pub(crate) mod registry;
pub(crate) mod said;
pub(crate) mod scene;
pub(crate) mod synapse;
pub(crate) mod wait;
pub(crate) mod zookeeper;
