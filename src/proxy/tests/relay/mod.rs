//! The relay by itself: bulk through pipes, slow peers, ends and breaks.

mod random;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::rig::PATIENCE;
use crate::proxy::Timeouts;
use crate::proxy::local::Local;
use crate::proxy::relay::{self, End, Finish, Meter, Patience, Which};
use crate::proxy::shared::Shared;
use crate::proxy::timer::Timer;
use crate::proxy::wheel::Group;
use crate::proxy::worker::WorkerSettings;
use crate::telemetry::cells::WorkerId;

pub(super) const MEGABYTE: usize = 1024 * 1024;

/// Counts what moved and how often the relay was polled.
#[derive(Default)]
pub(super) struct Moved {
    up: Cell<usize>,
    down: Cell<usize>,
    pub(super) polls: Cell<usize>,
}

impl Meter for Moved {
    fn to_backend(&self, n: usize) {
        self.up.set(self.up.get() + n);
    }

    fn to_client(&self, n: usize) {
        self.down.set(self.down.get() + n);
    }
}

/// A connected pair of sockets with buffers of about so many bytes; 0: the kernel's own choice.
pub(super) async fn pair(buffers: u32) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    if buffers > 0 {
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, buffers as usize).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&listener, buffers as usize).unwrap();
        socket.set_recv_buffer_size(buffers).unwrap();
        socket.set_send_buffer_size(buffers).unwrap();
    }
    let addr: SocketAddr = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(socket.connect(addr), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

pub(super) fn local(max_pipes: u32) -> Rc<Local> {
    let lull = Duration::from_micros(80);
    let settings = WorkerSettings { max_pipes: Some(max_pipes), lull, ..WorkerSettings::default() };
    Rc::new(Local::new(WorkerId(0), Shared::new(1, settings).0))
}

fn end(stream: TcpStream) -> End {
    End { stream, early: Bytes::new() }
}

/// Relays between two sockets and counts.
pub(super) async fn relay(
    local: &Rc<Local>,
    client: TcpStream,
    backend: TcpStream,
    moved: &Moved,
) -> Finish {
    let timer = Timer::new(local, Group(0)).await;
    let timeouts = Timeouts::default();
    let patience = Patience::new(&timeouts);
    let mut run = pin!(relay::run((end(client), end(backend)), &timer, patience, moved));
    let counted = poll_fn(|cx| {
        moved.polls.set(moved.polls.get() + 1);
        run.as_mut().poll(cx)
    });
    tokio::time::timeout(PATIENCE * 6, counted).await.expect("the relay never ended").0
}

/// Bytes that tell their place.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// Sends without end until the socket takes no more for a while; what it took.
pub(super) async fn stuff(stream: &mut TcpStream) -> usize {
    let chunk = vec![7; MEGABYTE];
    let mut sent = 0;
    let quiet = Duration::from_millis(100);
    while let Ok(n) = tokio::time::timeout(quiet, stream.write(&chunk)).await {
        sent += n.unwrap();
    }
    sent
}

#[tokio::test]
async fn a_blocked_bulk_stream_holds_a_pipe_and_burns_nothing() {
    let local = local(8);
    let ((mut client, ours), (backend, mut theirs)) = (pair(0).await, pair(0).await);
    let moved = Moved::default();
    let script = async {
        let sent = stuff(&mut client).await;
        assert!(sent > MEGABYTE, "{sent}");
        assert_eq!(local.pipes.borrow().lent(), 1);
        let polls = moved.polls.get();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The kernel may move a little more between its buffers; who spins is polled thousands of times.
        assert!(moved.polls.get() <= polls + 10, "{polls} {}", moved.polls.get());
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), sent);
        drop(theirs);
    };
    let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
    assert!(matches!(finish, Finish::Done), "{finish:?}");
    assert_eq!(local.pipes.borrow().lent(), 0);
}

#[tokio::test]
async fn an_idle_bulk_stream_holds_no_pipe_and_wakes_again() {
    let local = local(8);
    let ((mut client, ours), (backend, mut theirs)) = (pair(0).await, pair(0).await);
    let moved = Moved::default();
    let script = async {
        let bulk = bytes(1, 8 * MEGABYTE);
        for round in 0..3 {
            let mut got = vec![0; bulk.len()];
            let (sent, read) = tokio::join!(client.write_all(&bulk), theirs.read_exact(&mut got));
            sent.unwrap();
            read.unwrap();
            assert!(got == bulk, "round {round}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(local.pipes.borrow().lent(), 0);
            // A word after bulk, and an answer.
            client.write_all(b"ping").await.unwrap();
            let mut word = [0; 4];
            theirs.read_exact(&mut word).await.unwrap();
            theirs.write_all(b"pong").await.unwrap();
            client.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"pong");
        }
        assert!(local.pipes.borrow().alive() > 0, "nothing was spliced");
        drop((client, theirs));
    };
    let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
    assert!(matches!(finish, Finish::Done), "{finish:?}");
}

#[tokio::test]
async fn a_side_that_has_ended_still_gets_its_bulk() {
    for client_ends in [true, false] {
        let local = local(8);
        let ((client, ours), (backend, theirs)) = (pair(0).await, pair(0).await);
        let (mut quiet, mut loud) = if client_ends { (client, theirs) } else { (theirs, client) };
        let moved = Moved::default();
        let bulk = bytes(3, 8 * MEGABYTE);
        let script = async {
            let (mut got, mut none) = (Vec::new(), Vec::new());
            quiet.shutdown().await.unwrap();
            // It is told first: then it speaks.
            loud.read_to_end(&mut none).await.unwrap();
            let write = async {
                loud.write_all(&bulk).await.unwrap();
                loud.shutdown().await.unwrap();
            };
            let (read, ()) = tokio::join!(quiet.read_to_end(&mut got), write);
            read.unwrap();
            assert!(got == bulk && none.is_empty(), "client ends: {client_ends}");
        };
        let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
        assert!(matches!(finish, Finish::Done), "{finish:?}");
    }
}

#[tokio::test]
async fn a_break_within_a_spliced_stream_resets_the_other_side() {
    for (breaker, which) in [(0, Which::Client), (1, Which::Backend)] {
        let local = local(8);
        let ((mut client, ours), (backend, theirs)) = (pair(0).await, pair(0).await);
        let moved = Moved::default();
        let script = async {
            stuff(&mut client).await;
            assert_eq!(local.pipes.borrow().lent(), 1);
            let (broken, mut other) =
                if breaker == 0 { (client, theirs) } else { (theirs, client) };
            broken.set_zero_linger().unwrap();
            drop(broken);
            let mut chunk = vec![0; MEGABYTE];
            loop {
                match other.read(&mut chunk).await {
                    Ok(0) => panic!("it looks complete: breaker {breaker}"),
                    Ok(_) => {}
                    Err(error) => return error.kind(),
                }
            }
        };
        let (finish, told) = tokio::join!(relay(&local, ours, backend, &moved), script);
        assert!(matches!(&finish, Finish::Broken(who, _) if *who == which), "{finish:?}");
        assert_eq!(told, std::io::ErrorKind::ConnectionReset);
        // Bytes were in it: it is gone.
        let pipes = local.pipes.borrow();
        assert_eq!((pipes.lent(), pipes.alive()), (0, 0));
    }
}

#[tokio::test]
async fn an_idle_relay_is_small() {
    let local = local(8);
    let ((_client, ours), (backend, _theirs)) = (pair(0).await, pair(0).await);
    let timer = Timer::new(&local, Group(0)).await;
    let (timeouts, moved) = (Timeouts::default(), Moved::default());
    let patience = Patience::new(&timeouts);
    let run = relay::run((end(ours), end(backend)), &timer, patience, &moved);
    // Two sockets, two directions, what it was called with twice; 3 kB with the kernel's and the reactor's share is the
    // bound for a pair.
    assert!(size_of_val(&run) <= 768, "{}", size_of_val(&run));
    poll_fn(|_| Poll::Ready(())).await;
}
