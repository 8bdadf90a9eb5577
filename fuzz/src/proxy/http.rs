//! The code under test.

#[path = "../../../src/proxy/http/inbound.rs"]
#[allow(dead_code, reason = "the targets do not use all of it")]
mod inbound;
#[path = "../../../src/proxy/http/laws/mod.rs"]
pub(crate) mod laws;
#[path = "../../../src/proxy/http/message/mod.rs"]
#[allow(dead_code, reason = "the targets do not use all of it")]
mod message;
