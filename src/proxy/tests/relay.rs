//! The relay by itself: bulk through pipes, slow peers, ends and breaks.

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
    tokio::time::timeout(PATIENCE * 6, counted).await.expect("the relay never ended")
}

/// Bytes that tell their place.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// As likely few as many, below 2^`bits`.
fn amount(random: &mut fastrand::Rng, bits: u32) -> usize {
    let bits = random.u32(1..bits);
    random.usize(0..1 << bits)
}

/// Writes `sent` in pieces of random sizes, with pauses, then ends its side; reads to the end meanwhile.
async fn talk(mut stream: TcpStream, sent: &[u8], mut random: fastrand::Rng) -> Vec<u8> {
    let (mut read, mut write) = stream.split();
    let mut slow = random.fork();
    let writing = async move {
        let mut rest = sent;
        while !rest.is_empty() {
            let n = (1 + amount(&mut random, 20)).min(rest.len());
            write.write_all(&rest[..n]).await.unwrap();
            rest = &rest[n..];
            if random.u8(0..8) == 0 {
                tokio::task::yield_now().await;
            }
        }
        write.shutdown().await.unwrap();
    };
    let reading = async move {
        let mut got = Vec::new();
        let mut chunk = vec![0; 1 << 18];
        loop {
            let most = 1 + amount(&mut slow, 18);
            let n = read.read(&mut chunk[..most]).await.unwrap();
            if n == 0 {
                return got;
            }
            got.extend_from_slice(&chunk[..n]);
            if slow.u8(0..16) == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(writing, reading).1
}

/// One session with random amounts both ways; every byte arrives and is counted.
async fn session(local: &Rc<Local>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let buffers = random.choice([0, 4096, 65536]).unwrap();
    let up = bytes(seed, amount(&mut random, 22));
    let down = bytes(seed + 1, amount(&mut random, 22));
    let ((client, ours), (backend, theirs)) = (pair(buffers).await, pair(buffers).await);
    let moved = Moved::default();
    let (finish, at_backend, at_client) = tokio::join!(
        relay(local, ours, backend, &moved),
        talk(theirs, &down, random.fork()),
        talk(client, &up, random.fork()),
    );
    assert!(matches!(finish, Finish::Done), "seed {seed}: {finish:?}");
    assert!(at_backend == up && at_client == down, "seed {seed}: bytes differ");
    assert_eq!((moved.up.get(), moved.down.get()), (up.len(), down.len()), "seed {seed}");
}

#[tokio::test]
async fn random_amounts_pass_both_ways_unharmed() {
    let base = fastrand::u64(..u64::MAX / 2);
    // Without pipes, with fewer than directions, with enough.
    for max_pipes in [0, 1, 64] {
        let local = local(max_pipes);
        for seed in 0..25 {
            let seeds = (base + 4 * seed, base + 4 * seed + 2);
            tokio::join!(session(&local, seeds.0), session(&local, seeds.1));
        }
        // All that were made are back, and empty.
        let pipes = local.pipes.borrow();
        assert_eq!(pipes.lent(), 0, "seed {base}");
        assert!(pipes.alive() <= max_pipes);
    }
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
