use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use rustix::net::RecvFlags;

use super::*;
use crate::endpoint::ServiceName;
use crate::lb::fixed::fixed;
use crate::proxy::door::DoorId;
use crate::proxy::http::client::Begun;
use crate::proxy::http::message::framing::Body;
use crate::proxy::http::message::request::Request;
use crate::proxy::http::message::{Upgrade, Version};
use crate::proxy::http::upstream::Upstream;
use crate::proxy::peer::Peer;
use crate::proxy::shared::{Listener, Shared};
use crate::proxy::tests::rig::{nobody, settings};
use crate::proxy::timer::Timer;
use crate::proxy::worker::WorkerSettings;
use crate::proxy::{Mode, Service};
use crate::telemetry::cells::{PerWorker, WorkerId};

/// Less than fits with any head, more than is read with one after bulk.
const CAME: usize = 20_000;

const LONG: u64 = BULK_BEHIND_HEAD;
const SHORT: u64 = LONG - 1;

/// A connection to a backend on which one answer after the other has come, none of which is finished: the client has
/// gone, so all that is read of one is what is read with its head.
struct Backend {
    fixed: Fixed,
    upstream: Option<Box<Upstream>>,
}

impl Backend {
    async fn new() -> Self {
        let service = Arc::new(Service {
            name: ServiceName::new("web"),
            settings: arc_swap::ArcSwap::from_pointee(settings(Mode::Http)),
            pool: fixed("web", &[], None, 1).handle,
            cells: PerWorker::new(1),
        });
        let shared = Shared::new(1, WorkerSettings::default()).0;
        let local = Rc::new(Local::new(WorkerId(0), shared));
        let listener = Arc::new(Listener::new(service, Vec::new()));
        let timer = Timer::new(&local, listener.group).await;
        let (peer, entrance) = (Peer::UNIX, DoorId(0).into());
        let fixed = Fixed { local, listener, peer, entrance, reached: None, timer };
        let upstream = Upstream::sample(Socket::Gone, nobody().into());
        Self { fixed, upstream: Some(upstream) }
    }

    /// How much is read at once of an answer of this length, of which [`CAME`] bytes have come.
    fn reads(&mut self, length: u64) -> usize {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let mut upstream = self.upstream.take().unwrap();
        upstream.socket = Socket::Bare(came(&format!("{head:x<CAME$}")));
        let request = Request {
            len: 0,
            version: Version::V11,
            sent: Version::V11,
            is_head: false,
            is_idempotent: true,
            body: Body::Empty,
            keep_alive: true,
            upgrade: Upgrade::No,
            is_login: false,
        };
        let (head_up, body) = (Vec::new(), Inbound::Done);
        let (carried, hash, notes) = (None, None, None);
        let begun = Begun { request, head: head_up, carried, body, bytes: 0, hash, notes };
        let mut exchange = Exchange::new(begun, &self.fixed);
        exchange.upstream = Some(upstream);
        let settings = self.fixed.listener.service.settings.load_full();
        let mut client = Client::new(Socket::Gone, settings, self.fixed.now());
        let before = self.bytes_out();
        let mut cx = Context::from_waker(Waker::noop());
        let outcome = exchange.poll_down(&self.fixed, &mut client, &mut cx);
        assert!(matches!(outcome, Poll::Ready(Outcome::Aborted)), "{outcome:?}");
        self.upstream = exchange.upstream;
        usize::try_from(self.bytes_out() - before).unwrap()
    }

    fn bytes_out(&self) -> u64 {
        self.fixed.cells().bytes_out.get()
    }
}

/// A socket to which all of `bytes` has come.
fn came(bytes: &str) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    peer.write_all(bytes.as_bytes()).unwrap();
    let flags = RecvFlags::PEEK | RecvFlags::WAITALL;
    let (seen, _) = rustix::net::recv(&socket, &mut vec![0_u8; bytes.len()][..], flags).unwrap();
    assert_eq!(seen, bytes.len());
    socket
}

#[tokio::test]
async fn little_is_read_with_the_head_that_follows_a_long_answer() {
    let mut backend = Backend::new().await;
    assert_eq!(backend.reads(LONG), CAME, "nothing is known of it yet");
    assert_eq!(backend.reads(LONG), BULK_HEAD_READ);
    assert_eq!(backend.reads(LONG), BULK_HEAD_READ);
}

#[tokio::test]
async fn much_is_read_with_a_head_again_after_an_answer_that_is_not_long() {
    let mut backend = Backend::new().await;
    backend.reads(LONG);
    assert_eq!(backend.reads(SHORT), BULK_HEAD_READ);
    assert_eq!(backend.reads(SHORT), CAME);
}
