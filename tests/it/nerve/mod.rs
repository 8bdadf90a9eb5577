//! `nerve` as its users meet it: config in, znodes out.

mod config;
mod damping;
mod endtoend;
mod examples;
mod lifecycle;
mod push;
mod reload;
mod scale;
mod shapes;
