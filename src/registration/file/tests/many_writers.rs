//! Several who write, and synapse that reads.

use super::*;
use crate::discovery::file::FileDiscovery;
use crate::discovery::{Discovered, Discovery, FileSourceSettings, Membership};

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_and_told() {
    let scratch = Scratch::new();
    let lock = std::fs::File::create(scratch.0.join("backends.json.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut running = scratch.start(record("me", 7));
    running.wish.send_replace(Wanted::Present);
    let state = running.until(|state| state.trouble.is_some()).await;
    assert!(state.trouble.unwrap().contains("lock"));
    assert!(!scratch.path().exists());
    drop(lock);
    running.until(|state| state.phase == Phase::Registered).await;
}

#[tokio::test]
async fn two_nerves_of_one_identity_write_one_line() {
    let scratch = Scratch::new();
    let mut one = scratch.start(record("me", 7));
    let mut two = scratch.start(record("me", 7));
    one.wish.send_replace(Wanted::Present);
    two.make(Wanted::Present).await;
    one.make(Wanted::Present).await;
    assert_eq!(scratch.hosts(), ["me"]);
}

#[tokio::test(start_paused = true)]
async fn two_who_want_different_things_do_not_write_for_ever() {
    let scratch = Scratch::new();
    let heavier = NerveRecord { weight: Some(9), ..record("me", 7) };
    let (mut one, mut two) = (scratch.start(record("me", 7)), scratch.start(heavier));
    one.wish.send_replace(Wanted::Present);
    two.wish.send_replace(Wanted::Present);
    let given_up = |state: &Registration| state.trouble.is_some();
    tokio::select! { _ = one.until(given_up) => {}, _ = two.until(given_up) => {} }
    assert!(
        one.state.borrow().writes + two.state.borrow().writes
            <= 2 * u64::from(MAX_RESTORATIONS) + 2
    );
}

/// Writers flip their lines a thousand times in all under synapse's eyes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synapse_never_sees_a_broken_file_or_misses_a_foreign_line() {
    const WRITERS: u16 = 4;
    const FLIPS: u16 = 250;
    let scratch = Scratch::new();
    scratch.put(r#"[{"host":"first","port":1},{"host":"last","port":1}]"#);
    let settings =
        FileSourceSettings { path: scratch.path(), poll_interval: Duration::from_millis(10) };
    let parse = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
    let (out, mut seen) = watch::channel(Discovered::default());
    let stop = CancellationToken::new();
    let source = Box::new(FileDiscovery::new(settings, parse));
    let reading = tokio::spawn(source.run(out, stop.clone()));
    let judging = tokio::spawn(async move {
        let mut words = 0_u32;
        while seen.changed().await.is_ok() {
            let word = seen.borrow_and_update().clone();
            assert_eq!((&word.trouble, word.malformed_total), (&None, 0));
            let Membership::Known(set) = &word.membership else { panic!("{word:?}") };
            let count = |host: &str| set.as_slice().iter().filter(|e| &*e.host == host).count();
            assert_eq!((count("first"), count("last")), (1, 1), "{set:?}");
            words += 1;
        }
        words
    });
    let mut writers = tokio::task::JoinSet::new();
    for port in 0..WRITERS {
        let mut running = scratch.start(record("me", 100 + port));
        writers.spawn(async move {
            for flip in 0..FLIPS {
                let wish = if flip % 2 == 0 { Wanted::Present } else { Wanted::Absent };
                running.make(wish).await;
            }
            running.make(Wanted::Present).await;
            running.end().await;
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    scratch.until("all there", |scratch| scratch.hosts().len() == 2 + usize::from(WRITERS)).await;
    assert_eq!(scratch.hosts()[..2], ["first", "last"], "in their order");
    stop.cancel();
    reading.await.unwrap();
    let words = judging.await.unwrap();
    assert!(words > 20, "only {words} words");
}
