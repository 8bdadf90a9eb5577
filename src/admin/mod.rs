//! What each admin path answers.

pub mod routes;
pub mod server;
pub mod services;
