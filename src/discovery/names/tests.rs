//! Names with a scripted resolver, on a paused clock.

use super::*;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

type Answer = Result<Vec<IpAddr>, ()>;

/// A resolver with one scripted answer at a time, for all names; `None` hangs.
#[derive(Clone)]
struct Script {
    answer: Arc<watch::Sender<Option<Answer>>>,
    asked: Arc<AtomicUsize>,
}

impl Script {
    fn new(answer: Option<Answer>) -> Self {
        Self { answer: Arc::new(watch::Sender::new(answer)), asked: Arc::default() }
    }

    fn start(&self) -> (NameCache, tokio_util::sync::DropGuard) {
        let script = self.clone();
        let cache = NameCache::with_lookup(
            NameSettings::default(),
            Arc::new(move |_| {
                script.asked.fetch_add(1, Ordering::Relaxed);
                let mut answer = script.answer.subscribe();
                Box::pin(async move {
                    let answer = answer.wait_for(Option::is_some).await.unwrap().clone();
                    answer.unwrap().map_err(|()| io::Error::other("no such name"))
                })
            }),
        );
        let stop = CancellationToken::new();
        tokio::spawn(cache.clone().run(stop.clone()));
        (cache, stop.drop_guard())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn host(name: &str) -> Arc<str> {
    name.into()
}

#[tokio::test(start_paused = true)]
async fn literals_never_reach_the_resolver() {
    let script = Script::new(None);
    let (cache, _stop) = script.start();
    for (text, addr) in
        [("10.0.0.1", V4), ("::1", "::1".parse().unwrap()), ("[::1]", "::1".parse().unwrap())]
    {
        assert_eq!(cache.track(&host(text)).addr(), Resolved::Known(addr));
    }
    assert_eq!(literal("[10.0.0.1]"), None);
    assert_eq!(literal("db.example"), None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(script.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_and_refreshed_and_changes_are_announced() {
    let script = Script::new(Some(Ok(vec![V4, OTHER])));
    let (cache, _stop) = script.start();
    let mut changed = cache.changed();
    let name = cache.track(&host("db"));
    assert_eq!(name.addr(), Resolved::Pending);
    changed.changed().await.unwrap();
    assert_eq!(name.addr(), Resolved::Known(V4));
    // The order of the answers does not matter while ours is among them.
    script.answer.send_replace(Some(Ok(vec![OTHER, V4])));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(name.addr(), Resolved::Known(V4));
    assert!(!changed.has_changed().unwrap());
    script.answer.send_replace(Some(Ok(vec![OTHER])));
    changed.changed().await.unwrap();
    assert_eq!(name.addr(), Resolved::Known(OTHER));
}

#[tokio::test(start_paused = true)]
async fn a_failing_resolver_keeps_the_last_address() {
    let script = Script::new(Some(Ok(vec![V4])));
    let (cache, _stop) = script.start();
    let mut changed = cache.changed();
    let name = cache.track(&host("db"));
    changed.changed().await.unwrap();
    script.answer.send_replace(Some(Err(())));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(name.addr(), Resolved::Known(V4));
    assert!(script.asked() > 3);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_never_resolved_says_why_and_is_tried_again() {
    let script = Script::new(Some(Err(())));
    let (cache, _stop) = script.start();
    let mut changed = cache.changed();
    let name = cache.track(&host("db"));
    changed.changed().await.unwrap();
    assert_eq!(name.addr(), Resolved::Failed("no such name".into()));
    script.answer.send_replace(Some(Ok(vec![])));
    changed.changed().await.unwrap();
    assert_eq!(name.addr(), Resolved::Failed("no address".into()));
    script.answer.send_replace(Some(Ok(vec![V4])));
    changed.changed().await.unwrap();
    assert_eq!(name.addr(), Resolved::Known(V4));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_resolver_is_reported_bounded_and_its_late_answer_used() {
    let script = Script::new(None);
    let (cache, _stop) = script.start();
    let names: Vec<_> = (0..50).map(|n| cache.track(&host(&format!("n{n}")))).collect();
    let mut changed = cache.changed();
    changed.changed().await.unwrap();
    assert_eq!(names[0].addr(), Resolved::Failed("no answer within 5s".into()));
    assert_eq!(script.asked(), MAX_LOOKUPS);
    script.answer.send_replace(Some(Ok(vec![V4])));
    changed
        .wait_for(|_| names.iter().all(|name| name.addr() == Resolved::Known(V4)))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_uses_are_forgotten() {
    let script = Script::new(Some(Ok(vec![V4])));
    let (cache, _stop) = script.start();
    let mut changed = cache.changed();
    let (first, second) = (cache.track(&host("db")), cache.track(&host("db")));
    changed.changed().await.unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cache.addr("db"), Resolved::Known(V4));
    drop(second);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cache.addr("db"), Resolved::Pending);
    let asked = script.asked();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(script.asked(), asked);
}
