//! The composition roots: they know everyone, and nobody imports them.
//!
//! [`synapse`] builds the process out of a loaded configuration and takes it down again; [`service`] is one running
//! service, from discovery to listener, [`fleet`] owns them all and changes them; [`demo`] is the same program with made-up backends. Everything here waits and
//! wires; judgement lives below.

pub mod bound;
pub mod cli;
pub mod demo;
pub mod fleet;
mod generators;
mod inventory;
pub mod process;
pub mod registries;
mod reload;
pub mod service;
pub mod signal;
mod stop;
pub mod supervise;
pub mod synapse;
