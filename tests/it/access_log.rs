//! The access log, from the outside.

mod beside;
mod origin;
mod scenarios;
