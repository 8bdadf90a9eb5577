//! SmartStack: applications talk to `localhost:PORT`, one port per dependency, and know nothing else.
//!
//! (front page: to be written with the architecture)

pub mod admin;
pub mod app;
pub mod backoff;
pub mod config;
pub mod discovery;
pub mod endpoint;
pub mod health;
pub mod lb;
pub mod proxy;
pub mod readiness;
pub mod registry;
pub mod shutdown;
pub mod telemetry;
