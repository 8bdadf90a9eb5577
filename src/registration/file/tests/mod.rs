//! The reporter on a real directory.

mod many_writers;
mod one_line;
mod promises;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::contract;
use super::*;

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
