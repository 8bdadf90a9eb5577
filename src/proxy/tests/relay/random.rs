//! Random amounts both ways, in pieces of random sizes.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Moved, bytes, local, pair, relay};
use crate::proxy::local::Local;
use crate::proxy::relay::Finish;

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
