//! The composition roots: they know everyone, and nobody imports them.
//!
//! [`synapse`] builds the process out of a loaded configuration and takes it down again; [`service`] is one running
//! service, from discovery to listener, [`fleet`] owns them all and changes them; [`demo`] is the same program with made-up backends. Everything here waits and
//! wires; judgement lives below.

pub mod bound;
pub(crate) mod changes;
pub mod cli;
pub mod demo;
pub mod fleet;
pub(crate) mod front;
mod generators;
pub(crate) mod handover;
mod inventory;
pub mod nerve;
pub mod process;
pub mod registries;
mod reload;
pub mod service;
mod serving;
pub(crate) mod sessions;
pub mod signal;
mod state;
mod stop;
pub mod supervise;
pub mod synapse;
pub(crate) mod systemd;
