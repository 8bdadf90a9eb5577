//! The data plane as a whole, over real sockets on loopback: workers, scripted origins, raw clients.

mod bulk;
mod client;
mod dialing;
mod early;
mod ending;
mod faults;
mod full;
mod http;
mod limits;
mod listening;
pub(crate) mod logged;
mod login;
mod proxied;
mod queue;
mod relay;
mod rests;
pub(crate) mod rig;
mod room;
mod silence;
mod sizes;
mod tcp;
mod unwatched;
mod waits;
