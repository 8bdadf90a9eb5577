//! What is used after a restart, until the source speaks.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_source_is_stood_in_for_until_it_speaks() {
    let dir = Dir::new();
    dir.put(&record(&["a", "b"]));
    let mut bench = Bench::start(&dir, keeping()).await;
    let first = bench.until(|d| d.stale.is_some()).await;
    assert_eq!(hosts(&first), ["a", "b"]);
    assert!(first.verified.is_none(), "nobody has confirmed it");
    let stale = first.stale.unwrap();
    assert_eq!(stale.memory, Memory::Own);
    assert_eq!(millis_of(stale.confirmed_at), 1_795_417_906_123);
    let (was, is) = (stale.confirmed_at, stale.confirmed_at + Duration::from_secs(75));
    assert_eq!(stale.age(is), Duration::from_secs(75));
    assert_eq!(stale.age(was - Duration::from_secs(1)), Duration::ZERO, "clock set back");

    bench.script.says(known(&["b"]));
    let word = bench.until(|d| d.stale.is_none()).await;
    assert_eq!(hosts(&word), ["b"]);
    assert!(word.verified.is_some());
    bench.stop().await;
    assert_eq!(dir.on_disk().unwrap().endpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_set_is_announced_when_it_is_confirmed() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let mut bench = Bench::start(&dir, keeping()).await;
    bench.until(|d| d.stale.is_some()).await;
    bench.script.says(known(&["a"]));
    bench.until(|d| d.stale.is_none()).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_word_of_a_former_source_is_not_saved_as_the_new_ones() {
    let dir = Dir::new();
    let script = Scripted(watch::Sender::new(None));
    let policy = keeping();
    let settings = SavedSettings::new(&service(), &zookeeper("/services/search"), &policy);
    let (out, mut seen) = watch::channel(Discovered {
        membership: known(&["former"]),
        verified: Some(tokio::time::Instant::now()),
        ..Discovered::default()
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stop = CancellationToken::new();
    let source = LastKnown::load(dir.store(), settings.unwrap()).around(script.source());
    let running = tokio::spawn(source.run(out, stop.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(hosts(&seen.borrow()), ["former"], "it stays in use");
    assert!(dir.on_disk().is_none());
    script.says(known(&["new"]));
    seen.wait_for(|d| hosts(d) == ["new"]).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert_eq!(dir.on_disk().unwrap().endpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_file_the_source_is_as_it_was() {
    let dir = Dir::new();
    let mut bench = Bench::start(&dir, keeping()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(hosts(&bench.seen.borrow()), ["Pending"]);
    bench.script.says(Membership::Missing);
    bench.until(|d| matches!(d.membership, Membership::Missing)).await;
    bench.stop().await;
    assert!(dir.on_disk().is_none(), "nobody to remember");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_not_used_and_is_replaced_by_the_next_word() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let mut bytes = std::fs::read(dir.file()).unwrap();
    bytes[60] ^= 1;
    std::fs::write(dir.file(), bytes).unwrap();
    let bench = Bench::start(&dir, keeping()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(hosts(&bench.seen.borrow()), ["Pending"]);
    bench.script.says(known(&["b"]));
    // A damaged file would make this panic.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(&*dir.on_disk().unwrap().endpoints.as_slice()[0].host, "b");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_emptied_path_is_remembered_beside_the_last_backends() {
    for nothing in [Membership::Missing, known(&[])] {
        let dir = Dir::new();
        let bench = Bench::start(&dir, keeping()).await;
        bench.script.says(known(&["a", "b"]));
        until_on_disk(&dir, |r| r.said == Said::Known).await;
        bench.script.says(nothing);
        let saved = until_on_disk(&dir, |r| r.said != Said::Known).await;
        assert_eq!(saved.endpoints.len(), 2);
        bench.stop().await;

        // As before the restart: kept with use_previous_backends, ...
        let mut bench = Bench::start(&dir, keeping()).await;
        let word = bench.until(|d| d.stale.is_some()).await;
        assert_eq!(hosts(&word), ["a", "b"]);
        bench.stop().await;
        // ... gone without it, ...
        let mut bench = Bench::start(&dir, MembershipPolicy::default()).await;
        let word = bench.until(|d| d.stale.is_some()).await;
        assert_ne!(hosts(&word), ["a", "b"]);
        bench.stop().await;
        // ... and not before the default servers.
        let policy =
            MembershipPolicy { default_servers: vec![Endpoint::new("d", 80)], ..keeping() };
        let mut bench = Bench::start(&dir, policy).await;
        let word = bench.until(|d| d.stale.is_some()).await;
        assert_ne!(hosts(&word), ["a", "b"]);
        bench.stop().await;
    }
}
