//! Fast streams that rest, and sides that are not watched meanwhile. Every stream is a fast one here.

use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::relay::{MEGABYTE, Moved, bytes, local, pair, relay, stuff};
use super::rig::PATIENCE;
use crate::proxy::local::Local;
use crate::proxy::relay::{Finish, Which};
use crate::proxy::side::seen::LEFT;

/// Less than what a stream must find not to rest.
const LITTLE: usize = 96 * 1024;

fn left() -> i32 {
    LEFT.with(std::cell::Cell::get)
}

/// Who sends much and who takes it, and our sockets to client and backend.
async fn ends(is_upload: bool) -> ((TcpStream, TcpStream), TcpStream, TcpStream) {
    let ((client, ours), (backend, theirs)) = (pair(0).await, pair(0).await);
    let far = if is_upload { (client, theirs) } else { (theirs, client) };
    (far, ours, backend)
}

/// Writes pieces until a stream rests, and somewhat longer; how many.
async fn write_until_it_rests(to: &mut TcpStream, piece: &[u8], local: &Rc<Local>) -> usize {
    let begun = Instant::now();
    let mut pieces = 0;
    while local.lulls.borrow().alive() == 0 || pieces < 100 {
        assert!(begun.elapsed() < PATIENCE, "it never rested in {pieces} pieces");
        to.write_all(piece).await.unwrap();
        pieces += 1;
        yield_now().await;
    }
    pieces
}

#[tokio::test]
async fn a_fast_stream_rests_and_nothing_is_lost() {
    for is_upload in [true, false] {
        let (local, moved) = (local(8), Moved::default());
        let ((mut source, mut sink), ours, backend) = ends(is_upload).await;
        let piece = bytes(5, LITTLE);
        let writing = async {
            let pieces = write_until_it_rests(&mut source, &piece, &local).await;
            source.write_all(b"end").await.unwrap();
            source.shutdown().await.unwrap();
            pieces
        };
        let reading = async {
            let mut got = vec![0; LITTLE];
            let mut pieces = 0;
            loop {
                let read = sink.read_exact(&mut got).await;
                if read.is_err() {
                    assert!(got.starts_with(b"end"), "after {pieces} pieces");
                    sink.shutdown().await.unwrap();
                    break pieces;
                }
                assert!(got == piece, "piece {pieces}");
                pieces += 1;
            }
        };
        let script = async {
            let (sent, got) = tokio::join!(writing, reading);
            assert_eq!(got, sent);
        };
        let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
        assert!(matches!(finish, Finish::Done), "{finish:?}");
        assert_eq!(local.lulls.borrow().lent(), 0);
    }
}

#[tokio::test]
async fn a_side_that_is_left_alone_still_gets_what_the_other_says() {
    for is_upload in [true, false] {
        let (local, moved) = (local(8), Moved::default());
        let ((mut source, mut sink), ours, backend) = ends(is_upload).await;
        let script = async {
            for round in 0..3 {
                let before = left();
                let sent = stuff(&mut source).await;
                assert_eq!(left(), before + 1, "the source of a blocked stream is watched");
                // A word is taken at once; many bytes have to be waited for.
                for len in [4, 8 * MEGABYTE] {
                    let words = vec![round; len];
                    let mut heard = vec![9; len];
                    let (said, read) =
                        tokio::join!(sink.write_all(&words), source.read_exact(&mut heard));
                    said.unwrap();
                    read.unwrap();
                    assert!(heard == words, "round {round}");
                }
                let mut got = vec![0; sent];
                sink.read_exact(&mut got).await.unwrap();
                // What is dry is watched.
                let begun = Instant::now();
                while left() > before {
                    assert!(begun.elapsed() < PATIENCE, "nobody would hear of more");
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
            drop((source, sink));
        };
        let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
        assert!(matches!(finish, Finish::Done), "{finish:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_side_that_is_left_alone_is_seen_behind_its_bytes() {
    for is_reset in [false, true] {
        let local = local(8);
        let ((mut client, ours), (backend, mut theirs)) = (pair(0).await, pair(0).await);
        let moved = Moved::default();
        let script = async {
            let before = left();
            let sent = stuff(&mut client).await;
            assert_eq!(left(), before + 1);
            if is_reset {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            let mut got = Vec::new();
            let read = theirs.read_to_end(&mut got).await;
            assert_eq!(read.is_err(), is_reset, "{read:?}");
            assert!(is_reset || got.len() == sent, "{} of {sent}", got.len());
            drop(theirs);
        };
        let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
        if is_reset {
            assert!(matches!(finish, Finish::Broken(Which::Client, _)), "{finish:?}");
        } else {
            assert!(matches!(finish, Finish::Done), "{finish:?}");
        }
    }
}

/// A descriptor by its number alone.
#[derive(Debug)]
pub(super) struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Takes a side's place in the reactor while it is out of it, so that `epoll_ctl` refuses it afterwards. With `EEXIST`:
/// what the system may have too few of cannot be used up here without the whole machine.
#[expect(
    deprecated,
    reason = "what follows it is unsafe; the descriptor is open and its number the socket's"
)]
pub(super) fn occupy(number: RawFd) -> AsyncFd<Number> {
    AsyncFd::new(Number(number)).expect("the side is out of the reactor")
}

#[tokio::test]
async fn a_side_that_the_reactor_does_not_take_back_is_nobodys_fault() {
    // What makes it be watched again: it is dry, or the other side has said more than it takes at once.
    for (is_upload, is_read) in [(true, true), (false, true), (true, false), (false, false)] {
        let (local, moved) = (local(8), Moved::default());
        let ((mut source, mut sink), ours, backend) = ends(is_upload).await;
        let number = if is_upload { ours.as_raw_fd() } else { backend.as_raw_fd() };
        let script = async {
            let before = left();
            stuff(&mut source).await;
            assert_eq!(left(), before + 1, "the source of a blocked stream is watched");
            let occupied = occupy(number);
            let told = if is_read {
                sink.read_to_end(&mut Vec::new()).await.map(drop)
            } else {
                let words = vec![1; 8 * MEGABYTE];
                loop {
                    if let Err(error) = sink.write_all(&words).await {
                        break Err(error);
                    }
                }
            };
            let told = told.unwrap_err().kind();
            assert_eq!(told, std::io::ErrorKind::ConnectionReset, "{is_upload} {is_read}");
            drop((source, occupied));
        };
        let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
        assert!(matches!(finish, Finish::Own(_)), "{is_upload} {is_read}: {finish:?}");
    }
}
