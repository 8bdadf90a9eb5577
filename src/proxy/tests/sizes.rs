//! What an idle connection keeps in its task: bounds, so that it does not grow unseen.
//!
//! A pair of idle TCP connections shall cost 3 kB in all, an idle HTTP connection 2.5 kB. Of that each socket known to the
//! reactor takes about 300 bytes, the task's header and its place in lists another 100. What is rare or soon over is
//! boxed; what lasts must not be an `async fn` with large arguments, which keeps them twice.

use std::rc::Rc;
use std::sync::Arc;

use crate::proxy::accept::Accepted;
use crate::proxy::connect::Dialer;
use crate::proxy::direction::Direction;
use crate::proxy::local::Local;
use crate::proxy::relay::Patience;
use crate::proxy::trail::Trail;
use crate::proxy::wheel::Node;
use crate::proxy::{ProxySettings, counters, http, tcp};

/// A TCP connection's future: the relay is 350 of it.
const TCP_BYTES: usize = 816;

/// An HTTP connection's future.
const HTTP_BYTES: usize = 1312;

/// An entry on the wheel, of which every connection has one.
const NODE_BYTES: usize = 56;

fn tcp_future<F: Future>(_: fn(Rc<Local>, Accepted, Arc<ProxySettings>) -> F) -> usize {
    size_of::<F>()
}

fn http_future<F: Future>(_: fn(Rc<Local>, Accepted) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn an_idle_connection_keeps_little() {
    let parts = [
        ("accepted", size_of::<Accepted>()),
        ("dialer", size_of::<Dialer<'_>>()),
        ("trail", size_of::<Trail>()),
        ("direction", size_of::<Direction>()),
        ("patience", size_of::<Patience<'_>>()),
        ("counters", size_of::<counters::Counters<'_>>()),
    ];
    let (tcp, http) = (tcp_future(tcp::serve), http_future(http::serve));
    assert!(tcp <= TCP_BYTES, "tcp: {tcp} bytes; {parts:?}");
    assert!(http <= HTTP_BYTES, "http: {http} bytes; {parts:?}");
    assert!(size_of::<Node>() <= NODE_BYTES, "wheel: {} bytes", size_of::<Node>());
}
