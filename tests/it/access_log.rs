//! The access log, from the outside.

mod beside;
mod delivery;
mod origin;
mod scenarios;
mod states;
