//! The reporter on a real directory.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::contract;
use super::*;
use crate::discovery::file::FileDiscovery;
use crate::discovery::{Discovered, Discovery, FileSourceSettings, Membership};

/// Thirty restorations, each up to a POLL after the one before, take 15 s where the disk is quick.
const PATIENCE: Duration = Duration::from_secs(50);

pub(super) fn record(host: &str, port: u16) -> NerveRecord {
    NerveRecord {
        host: host.into(),
        port: json!(port),
        name: "i-1".into(),
        weight: None,
        haproxy_server_options: None,
        labels: None,
    }
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("smartstack-reporter-{}-{}", std::process::id(), fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("backends.json")
    }

    fn put(&self, text: impl AsRef<[u8]>) {
        let new = self.0.join("by-hand");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.path()).unwrap();
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn hosts(&self) -> Vec<String> {
        let items: Vec<Value> = serde_json::from_str(&self.text()).unwrap();
        items.iter().map(|item| item["host"].as_str().unwrap().to_owned()).collect()
    }

    fn start(&self, record: NerveRecord) -> Running {
        let (wish, wanted) = watch::channel(Wanted::Undecided);
        let (out, state) = watch::channel(Registration::default());
        let stop = CancellationToken::new();
        let reporter = Box::new(FileReporter::new(self.path(), record, ServiceName::new("web")));
        let task = tokio::spawn(reporter.run(wanted, out, stop.clone()));
        Running { wish, state, stop, task }
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !wanted(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "never {what}: {}", self.text());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Running {
    wish: watch::Sender<Wanted>,
    state: watch::Receiver<Registration>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn until(&mut self, wanted: impl FnMut(&Registration) -> bool) -> Registration {
        let found = tokio::time::timeout(PATIENCE, self.state.wait_for(wanted))
            .await
            .map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| panic!("never, but {:?}", self.state.borrow()))
    }

    async fn make(&mut self, wish: Wanted) -> Registration {
        self.wish.send_replace(wish);
        let phase = if wish == Wanted::Present { Phase::Registered } else { Phase::Absent };
        self.until(|state| state.phase == phase).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn keeps_one_line_among_others_and_leaves_it_at_the_stop() {
    let scratch = Scratch::new();
    scratch.put(r#"[{"host":"a","port":1},"odd"]"#);
    let mut running = scratch.start(record("me", 7));
    let state = running.make(Wanted::Present).await;
    assert_eq!((state.writes, state.owner, state.trouble), (1, None, None));
    assert_eq!(state.node.as_deref(), scratch.path().to_str());
    let expected = "[\n{\"host\":\"a\",\"port\":1},\n\"odd\",\n{\"host\":\"me\",\"port\":7,\"name\":\"i-1\"}\n]\n";
    assert_eq!(scratch.text(), expected);
    let mode = std::fs::metadata(scratch.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    running.end().await;
    assert_eq!(scratch.text(), expected);

    let mut running = scratch.start(record("me", 7));
    let state = running.make(Wanted::Present).await;
    assert_eq!(state.writes, 0, "what is right is not written again");
    let state = running.make(Wanted::Absent).await;
    assert_eq!((state.node, state.writes), (None, 1));
    assert_eq!(scratch.text(), "[\n{\"host\":\"a\",\"port\":1},\n\"odd\"\n]\n");
    assert!(!scratch.0.join("backends.json.new").exists());
}

#[tokio::test]
async fn undecided_touches_nothing_and_absent_makes_no_file() {
    let scratch = Scratch::new();
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Absent).await;
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
    scratch.put(r#"[{"host":"me","port":7,"name":"i-1"}]"#);
    running.until(|state| state.writes == 1).await;
    running.end().await;

    let there = r#"[{"host":"me","port":7,"name":"i-1","weight":3}]"#;
    scratch.put(there);
    let mut running = scratch.start(record("me", 7));
    let state = running.until(|state| state.phase == Phase::Registered).await;
    assert_eq!((state.writes, scratch.text().as_str()), (0, there));
}

#[tokio::test]
async fn what_others_remove_or_change_is_back_within_a_second() {
    let scratch = Scratch::new();
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Present).await;
    let right = scratch.text();
    for (writes, by_hand) in [
        (2, "[]"),
        (3, r#"[{"host":"me","port":7,"name":"i-1","weight":0}]"#),
        (4, r#"[{"host":"me","port":7,"name":"i-1"},{"host":"me","port":7,"name":"i-1"}]"#),
    ] {
        let at = Instant::now();
        scratch.put(by_hand);
        running.until(|state| state.writes == writes).await;
        assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
        assert_eq!(scratch.text(), right);
    }
    std::fs::remove_file(scratch.path()).unwrap();
    running.until(|state| state.writes == 5).await;
    assert_eq!(scratch.text(), right);
}

#[tokio::test]
async fn a_broken_file_is_never_written_until_somebody_mends_it() {
    let scratch = Scratch::new();
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Present).await;
    for broken in ["[{\"host\":\"a\"", "{}", "- host: a\n"] {
        scratch.put(broken);
        let state = running.until(|state| state.trouble.is_some()).await;
        assert_eq!(state.phase, Phase::Unconfirmed);
        assert!(state.trouble.unwrap().starts_with("not a JSON list: "));
        assert_eq!(scratch.text(), broken);
        scratch.put(r#"[{"host":"a","port":1}]"#);
        let state = running.until(|state| state.trouble.is_none()).await;
        assert_eq!(state.phase, Phase::Registered);
        assert_eq!(scratch.hosts(), ["a", "me"]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_is_trouble() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path()).unwrap();
    let mut running = scratch.start(record("me", 7));
    running.wish.send_replace(Wanted::Present);
    let state = running.until(|state| state.trouble.is_some()).await;
    assert_eq!(state.phase, Phase::Changing);
    assert_eq!(state.trouble.as_deref(), Some("not a regular file"));
    running.end().await;

    let mut running = scratch.start(record("not a host", 7));
    running.wish.send_replace(Wanted::Present);
    let state = running.until(|state| state.trouble.is_some()).await;
    assert!(state.trouble.unwrap().starts_with("host is "));
    running.end().await;
}

#[tokio::test]
async fn a_missing_directory_is_made_and_a_link_stays_a_link() {
    let mut scratch = Scratch::new();
    let outer = scratch.0.clone();
    scratch.0 = outer.join("run");
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Present).await;
    running.end().await;
    let real = scratch.0.join("real.json");
    std::fs::rename(scratch.path(), &real).unwrap();
    std::os::unix::fs::symlink("real.json", scratch.path()).unwrap();
    let mut running = scratch.start(record("me", 8));
    running.make(Wanted::Present).await;
    assert!(std::fs::symlink_metadata(scratch.path()).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(real).unwrap().matches("\"me\"").count(), 2);
    drop(std::fs::remove_dir_all(outer));
}

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

/// The file for the reporters' contract.
struct InFile {
    scratch: Scratch,
    before: std::sync::Mutex<String>,
}

const FOREIGN: &str = r#"{"host":"a",  "port":1}"#;

impl contract::Rig for InFile {
    fn reporter(&self) -> Box<dyn Reporter> {
        Box::new(FileReporter::new(self.scratch.path(), record("me", 7), ServiceName::new("web")))
    }

    fn count(&self) -> usize {
        self.scratch.hosts().iter().filter(|host| *host == "me").count()
    }

    fn is_others_untouched(&self) -> bool {
        self.scratch.text().contains(FOREIGN)
    }

    fn remove(&self) {
        self.scratch.put(format!("[{FOREIGN}]"));
    }

    fn lose(&self) {
        *self.before.lock().unwrap() = self.scratch.text();
        self.scratch.put("[");
    }

    fn recover(&self) {
        self.scratch.put(self.before.lock().unwrap().as_str());
    }
}

#[tokio::test]
async fn keeps_the_contract_of_reporters() {
    let scratch = Scratch::new();
    scratch.put(format!("[{FOREIGN}]"));
    contract::check(InFile { scratch, before: std::sync::Mutex::default() }).await;
}
