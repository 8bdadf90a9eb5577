//! What is told about servers in haproxy's words.

use std::path::PathBuf;

use super::*;
use crate::telemetry::access::{self, Place, StateLog, Target, Targets};

/// Messages in a file of the test's own.
struct Told(PathBuf);

impl Told {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pool-messages-{name}-{}", std::process::id())))
    }

    fn settings(&self) -> PoolSettings {
        let targets = Targets::shared(vec![Target::raw(Place::File(self.0.clone()))]);
        let states = Some(StateLog { backend: "web".into(), targets });
        let membership = MembershipPolicy { use_previous_backends: false, ..Default::default() };
        PoolSettings { states, membership, ..settings(Strategy::RoundRobin) }
    }

    /// All of them, without how long checks took.
    async fn lines(self) -> Vec<String> {
        // The writer does not live on the paused clock.
        tokio::time::resume();
        access::finish(Duration::from_secs(10)).await;
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        drop(std::fs::remove_file(self.0));
        let cut = |line: &str| {
            let (head, tail) = line.split_once(", check duration: ").unwrap_or((line, ""));
            let tail = tail.split_once("ms. ").map_or("", |(_, tail)| tail);
            format!("{head} | {tail}")
        };
        text.lines().map(cut).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn servers_go_down_and_come_up_in_haproxys_words() {
    let told = Told::new("turns");
    let bench = start(told.settings());
    bench.with(&[("1", "fall=1"), ("2", "fall=1 weight=0"), ("3", "fall=1 backup")]).await;
    let session = bench.acquire().unwrap();
    assert_eq!(session.addr(), &addr(1));
    for n in [2, 1, 3] {
        bench.script.answer(addr(n), Answer::Refuse);
        bench.until_health(n, Health::Down).await;
    }
    drop(session);
    for n in [3, 1] {
        bench.script.answer(addr(n), Answer::Pass);
        bench.until_health(n, Health::Up).await;
    }
    let down = "is DOWN, reason: Layer4 connection problem, info: \"connection refused\"";
    let up = "is UP, reason: Layer4 check passed";
    assert_eq!(
        told.lines().await,
        [
            format!(
                "Server web/127.0.0.2:80 {down} | 1 active and 1 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
            ),
            format!(
                "Server web/127.0.0.1:80 {down} | 0 active and 1 backup servers left. Running on backup. 1 sessions active, 0 requeued, 0 remaining in queue."
            ),
            format!(
                "Backup Server web/127.0.0.3:80 {down} | 0 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
            ),
            "backend web has no server available! | ".to_owned(),
            format!(
                "Backup Server web/127.0.0.3:80 {up} | 0 active and 1 backup servers online. Running on backup. 0 sessions requeued, 0 total in queue."
            ),
            format!(
                "Server web/127.0.0.1:80 {up} | 1 active and 1 backup servers online. 0 sessions requeued, 0 total in queue."
            ),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_is_not_down_and_that_nobody_is_left_is_told_once() {
    let told = Told::new("removed");
    let bench = start(told.settings());
    bench.with(&[("1", "fall=1"), ("2", "")]).await;
    bench.with(&[("2", "")]).await;
    bench.with(&[("2", "disabled")]).await;
    bench.with(&[]).await;
    bench.with(&[("3", "")]).await;
    bench.with(&[]).await;
    let nobody = "backend web has no server available! | ";
    assert_eq!(told.lines().await, [nobody, nobody]);
}

/// A request that waits for any server has nothing to do with the one that goes down, but goes to the one that is back.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_told_of_with_the_server_that_takes_them() {
    let told = Told::new("waiting");
    let bench = start(told.settings());
    bench.with(&[("1", "fall=1 maxconn=1"), ("2", "fall=1 maxconn=1")]).await;
    let (one, two) = (bench.acquire().unwrap(), bench.acquire().unwrap());
    let waiting = bench.handle.line_up(PickContext::default()).unwrap();
    bench.refuse(1);
    bench.until_health(1, Health::Down).await;
    bench.until_health(1, Health::Up).await;
    drop((one, two, waiting));
    let lines = told.lines().await;
    assert!(
        lines[0].contains("info: \"Connection refused (live traffic)\" | 1 active"),
        "{lines:?}"
    );
    assert!(
        lines[0].ends_with("1 sessions active, 0 requeued, 0 remaining in queue."),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("1 sessions requeued, 0 total in queue."), "{lines:?}");
}
