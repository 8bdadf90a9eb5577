//! One writer at a time, whatever the number of processes.

use std::task::Poll;

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_process_is_the_one_and_everything_after() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let store = Store::open(dir.0.clone(), None).unwrap();
    let bench = Bench::with(Arc::clone(&store), keeping()).await;
    bench.script.says(known(&["b"]));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(&*dir.on_disk().unwrap().endpoints.as_slice()[0].host, "a", "another one's");

    // What the other one has written since is not what was read at the start.
    bench.script.says(known(&["a"]));
    dir.put(&record(&["theirs"]));
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.own();
    until_on_disk(&dir, |r| &*r.endpoints.as_slice()[0].host == "a").await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_does_not_put_back_what_was_read_at_the_start() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let store = Store::open(dir.0.clone(), None).unwrap();
    let bench = Bench::with(Arc::clone(&store), keeping()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    dir.put(&record(&["theirs"]));
    store.own();
    tokio::time::sleep(Duration::from_secs(600)).await;
    bench.stop().await;
    assert_eq!(&*dir.on_disk().unwrap().endpoints.as_slice()[0].host, "theirs");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_hand_over_not_even_at_the_end() {
    let dir = Dir::new();
    let store = dir.store();
    let bench = Bench::with(Arc::clone(&store), keeping()).await;
    bench.script.says(known(&["a"]));
    until_on_disk(&dir, |r| r.endpoints.len() == 1).await;
    store.release().await;
    dir.put(&record(&["theirs"]));
    bench.script.says(known(&["a", "b"]));
    tokio::time::sleep(Duration::from_secs(600)).await;
    bench.stop().await;
    assert_eq!(&*dir.on_disk().unwrap().endpoints.as_slice()[0].host, "theirs");
}

/// A file is written once a second at most: what waits for that is written now.
#[tokio::test(start_paused = true)]
async fn a_release_saves_what_waits_for_its_turn() {
    let dir = Dir::new();
    let store = dir.store();
    let bench = Bench::with(Arc::clone(&store), keeping()).await;
    bench.script.says(known(&["a"]));
    until_on_disk(&dir, |r| r.endpoints.len() == 1).await;
    bench.script.says(known(&["a", "b"]));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(dir.on_disk().unwrap().endpoints.len(), 1, "not yet");
    let begun = Instant::now();
    store.release().await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(dir.on_disk().unwrap().endpoints.len(), 2);
    // The hand-over has come to nothing.
    store.own();
    bench.script.says(known(&["a", "b", "c"]));
    until_on_disk(&dir, |r| r.endpoints.len() == 3).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_release_waits_for_what_is_under_way() {
    let dir = Dir::new();
    let store = dir.store();
    let hosts: Vec<String> = (0..2_000).map(|n| format!("h{n}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    // Whoever waits for the writes gives up at once.
    for _ in 0..8 {
        let mut saving = Box::pin(store.save(record(&hosts)));
        let polled = std::future::poll_fn(|cx| Poll::Ready(saving.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    store.release().await;
    let left = std::fs::read(dir.file()).unwrap();
    assert!(!store.save(record(&["late"])).await.unwrap());
    assert_eq!(std::fs::read(dir.file()).unwrap(), left);
}
