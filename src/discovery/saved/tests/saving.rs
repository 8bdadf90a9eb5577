//! When a word is saved, and what a disk that refuses does to it.

use super::*;

#[tokio::test(start_paused = true)]
async fn changes_are_saved_at_most_once_a_second() {
    let dir = Dir::new();
    let bench = Bench::start(&dir, keeping()).await;
    let begun = tokio::time::Instant::now();
    let (mut writes, mut last) = (0, None);
    for round in 0..500 {
        bench.script.says(known(&[&format!("h{round}")]));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = std::fs::read(dir.file()).ok();
        writes += usize::from(now != last);
        last = now;
    }
    let seconds = begun.elapsed().as_secs();
    assert!((3..=7).contains(&writes), "{writes} writes in {seconds} s");
    bench.stop().await;
    let saved = dir.on_disk().unwrap();
    assert_eq!(&*saved.endpoints.as_slice()[0].host, "h499", "the last one is not lost by a stop");
}

#[tokio::test(start_paused = true)]
async fn the_age_is_refreshed_while_the_source_confirms_and_only_then() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let written = || dir.on_disk().unwrap().confirmed_at;
    let old = written();
    let bench = Bench::start(&dir, keeping()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(written(), old, "silence confirms nothing");
    bench.script.says(known(&["a"]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    bench.script.says(known(&["a"]));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_ne!(written(), old);
    let last = written();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(written(), last, "no confirmation since");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_is_survived_and_tried_again() {
    let dir = Dir::new();
    let mut bench = Bench::start(&dir, keeping()).await;
    // Nobody, not even root, can rename a file over a directory.
    std::fs::create_dir(dir.file()).unwrap();
    bench.script.says(known(&["a"]));
    bench.until(|d| hosts(d) == ["a"]).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(!bench.running.is_finished());
    let left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().collect();
    assert_eq!(left.len(), 1, "no unfinished files pile up: {left:?}");
    std::fs::remove_dir(dir.file()).unwrap();
    until_on_disk(&dir, |r| r.endpoints.len() == 1).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_directory_is_made_again() {
    let dir = Dir::new();
    let bench = Bench::start(&dir, keeping()).await;
    std::fs::remove_dir_all(&dir.0).unwrap();
    bench.script.says(known(&["a"]));
    until_on_disk(&dir, |r| r.endpoints.len() == 1).await;
    bench.stop().await;
}
