//! Who is known, shown and kept: what discovery and names say, and what is left of it after a panic.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_panic_costs_neither_the_set_nor_counters_nor_verdicts_nor_the_next_word() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.script.answer(addr(2), Answer::Refuse);
    bench.with(&[("1", ""), ("2", "fall=1"), ("3", "")]).await;
    bench.until_health(2, Health::Down).await;
    let held = bench.acquire().unwrap();
    let before = bench.handle.view();
    for round in ["5", "6", "7"] {
        // The rules of these tests panic at words they do not know.
        bench.say(&[("1", "boom")]);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.3"], "{round}");
        let more = [("1", ""), ("2", "fall=1"), ("3", ""), (round, "weight=0")];
        bench.with(&more).await;
        assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.3"], "{round}");
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let after = bench.handle.view();
    for (a, b) in before.backends.iter().zip(&after.backends) {
        assert!(Arc::ptr_eq(&a.backend, &b.backend));
    }
    assert_eq!(after.backends[0].backend.in_flight.get(), 1);
    drop(held);
    bench.with(&[("1", ""), ("4", "")]).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.4"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_does_not_forget_whom_to_keep() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "")]).await;
    bench.say(&[("1", "boom")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.say(&[]);
    let kept = |view: &PoolView| view.origin == SetOrigin::Previous;
    assert!(!kept(&bench.handle.view()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn the_view_says_why_the_set_is_not_what_discovery_says() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "")]).await;
    assert!(bench.handle.view().notes.is_empty());
    bench.with(&[]).await;
    assert_eq!(
        bench.handle.view().notes,
        ["discovery knows nobody: the last 1 are kept (use_previous_backends)"]
    );
}

#[tokio::test(start_paused = true)]
async fn ready_means_that_discovery_was_heard() {
    let bench = start(settings(Strategy::RoundRobin));
    assert!(bench.handle.until(|view| !view.is_ready()).await);
    assert_eq!(bench.acquire().unwrap_err(), PickError::NoneEligible { known: 0, up: 0 });
    bench.say(&[("1", ""), ("2", "")]);
    assert!(bench.handle.wait_ready().await);
    assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.2"]);
    bench.stop.cancel();
    assert!(!bench.handle.until(|_| false).await, "the pool has ended");
}

#[tokio::test(start_paused = true)]
async fn a_backend_keeps_its_identity_when_its_line_changes() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "weight=1"), ("2", "")]).await;
    let lease = bench.acquire().unwrap();
    let before = bench.view(1).backend;
    bench.with(&[("3", ""), ("1", "weight=5 maxconn=9")]).await;
    let after = bench.view(1);
    assert!(Arc::ptr_eq(&before, &after.backend));
    assert_eq!(after.settings.weight.get(), 5);
    assert_eq!(after.backend.in_flight.get(), 1, "the lease is still counted");
    drop(lease);
    assert_eq!(after.backend.in_flight.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_under_its_leases_is_the_same() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", ""), ("2", "")]).await;
    let lease = bench.acquire().unwrap();
    assert_eq!(*lease.addr(), addr(1));
    bench.with(&[("2", "")]).await;
    bench.with(&[("1", ""), ("2", "")]).await;
    assert!(Arc::ptr_eq(lease.backend(), &bench.view(1).backend));
    drop(lease);
    let id = bench.view(1).backend.id;
    bench.with(&[("2", "")]).await;
    bench.with(&[("1", ""), ("2", "")]).await;
    assert_ne!(bench.view(1).backend.id, id, "nobody held it: a new one");
}

#[tokio::test(start_paused = true)]
async fn disabled_weightless_and_unresolved_ones_are_shown_with_the_reason() {
    let bench = start(settings(Strategy::RoundRobin));
    bench
        .with(&[
            ("1", "disabled check"),
            ("2", "weight=0"),
            ("db.example", ""),
            ("bad.example", ""),
            ("3", ""),
        ])
        .await;
    let failed = |v: &PoolView| v.backends[3].reason.contains("no such name");
    assert!(bench.handle.until(failed).await);
    let view = bench.handle.view();
    let reasons: Vec<_> = view.backends.iter().map(|b| (b.eligible, b.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (false, "disabled"),
            (false, "weight 0"),
            (false, "its name does not resolve: no such name"),
            (false, "its name does not resolve: no such name"),
            (true, "no check"),
        ]
    );
    assert_eq!(hosts(&bench.handle), ["127.0.0.3"]);
    bench.zone.lock().unwrap().insert("db.example".to_owned(), [127, 0, 0, 9].into());
    assert!(bench.handle.until(|v| v.backends[2].eligible).await);
    assert_eq!(hosts(&bench.handle), ["127.0.0.9", "127.0.0.3"]);
}

#[tokio::test(start_paused = true)]
async fn the_set_is_kept_when_discovery_goes_empty_and_when_its_source_ends() {
    let mut bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", ""), ("2", "")]).await;
    bench.with(&[]).await;
    assert_eq!(hosts(&bench.handle).len(), 2);
    assert_eq!(bench.handle.view().origin, SetOrigin::Previous);
    bench.word = watch::channel(Discovered::default()).0;
    bench.commands = mpsc::channel(1).0;
    bench.command_free_second().await;
    assert_eq!(hosts(&bench.handle).len(), 2);
}

impl Bench {
    /// A second in which the pool has no source left; it must neither end nor spin.
    async fn command_free_second(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn servers_of_the_same_name_are_told_apart() {
    let bench = start(settings(Strategy::RoundRobin));
    let named =
        |name: &str, host: &str| Endpoint { name: Some(name.into()), ..Endpoint::new(host, 80) };
    bench.word.send_replace(Discovered {
        membership: Membership::Known([named("a", "b_c"), named("a_b", "c")].into_iter().collect()),
        ..Discovered::default()
    });
    assert!(bench.handle.wait_ready().await);
    let view = bench.handle.view();
    let names: Vec<_> = view.backends.iter().map(|b| &*b.backend.server_name).collect();
    assert_eq!(names, ["a_b_c:80", "a_b_c:80#2"]);
}
