//! Fast streams that rest, and sides that are not watched meanwhile.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::relay::{MEGABYTE, Moved, bytes, local, pair, relay, stuff};
use super::rig::PATIENCE;
use crate::proxy::relay::{Finish, Which};

/// Less than what a stream must find not to rest.
const LITTLE: usize = 96 * 1024;

#[tokio::test]
async fn a_fast_stream_rests_and_nothing_is_lost() {
    let local = local(8);
    let ((mut client, ours), (backend, mut theirs)) = (pair(0).await, pair(0).await);
    let moved = Moved::default();
    let piece = bytes(5, LITTLE);
    let writing = async {
        let begun = Instant::now();
        let mut pieces = 0;
        // A machine that has no time for us moves too little in a millisecond; it has at another time.
        while local.lulls.borrow().alive() == 0 || pieces < 100 {
            assert!(begun.elapsed() < PATIENCE, "it never rested in {pieces} pieces");
            client.write_all(&piece).await.unwrap();
            pieces += 1;
            yield_now().await;
        }
        client.write_all(b"end").await.unwrap();
        client.shutdown().await.unwrap();
        pieces
    };
    let reading = async {
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        drop(theirs);
        got
    };
    let script = async { tokio::join!(writing, reading) };
    let (finish, (pieces, got)) = tokio::join!(relay(&local, ours, backend, &moved), script);
    assert!(matches!(finish, Finish::Done), "{finish:?}");
    assert_eq!(got.len(), pieces * LITTLE + 3);
    let (pieces, end) = got.split_at(pieces * LITTLE);
    assert!(pieces.chunks(LITTLE).all(|got| got == piece) && end == b"end");
    assert_eq!(local.lulls.borrow().lent(), 0);
}

#[tokio::test]
async fn a_side_that_is_left_alone_still_gets_what_the_other_says() {
    let local = local(8);
    let ((mut client, ours), (backend, mut theirs)) = (pair(0).await, pair(0).await);
    let moved = Moved::default();
    let script = async {
        for round in 0..3 {
            let sent = stuff(&mut client).await;
            // The client's own side waits for the backend; the way back is free.
            let words = vec![round; MEGABYTE];
            let mut heard = vec![9; MEGABYTE];
            let (said, read) =
                tokio::join!(theirs.write_all(&words), client.read_exact(&mut heard));
            said.unwrap();
            read.unwrap();
            assert!(heard == words, "round {round}");
            let mut got = vec![0; sent];
            theirs.read_exact(&mut got).await.unwrap();
        }
        drop((client, theirs));
    };
    let (finish, ()) = tokio::join!(relay(&local, ours, backend, &moved), script);
    assert!(matches!(finish, Finish::Done), "{finish:?}");
}

#[tokio::test]
async fn the_end_of_a_side_that_is_left_alone_is_seen_behind_its_bytes() {
    for is_reset in [false, true] {
        let local = local(8);
        let ((mut client, ours), (backend, mut theirs)) = (pair(0).await, pair(0).await);
        let moved = Moved::default();
        let script = async {
            let sent = stuff(&mut client).await;
            if is_reset {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            let polls = moved.polls.get();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(moved.polls.get() <= polls + 10, "it spins");
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
