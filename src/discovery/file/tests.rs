//! The source on a real directory.

use super::*;
use std::path::PathBuf;

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// A file in a directory of its own, gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("smartstack-file-{}-{}", std::process::id(), fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("backends.json")
    }

    fn replace(&self, text: &str) {
        let new = self.0.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.path()).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Running {
    seen: watch::Receiver<Discovered>,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    fn start(scratch: &Scratch) -> Self {
        let settings =
            FileSourceSettings { path: scratch.path(), poll_interval: Duration::from_millis(10) };
        let (out, seen) = watch::channel(Discovered::default());
        let stop = CancellationToken::new();
        let source = Box::new(FileDiscovery::new(settings, json));
        tokio::spawn(source.run(out, stop.clone()));
        Self { seen, _stop: stop.drop_guard() }
    }

    async fn until(&mut self, wanted: impl FnMut(&Discovered) -> bool) -> Discovered {
        tokio::time::timeout(Duration::from_secs(20), self.seen.wait_for(wanted))
            .await
            .expect("the state in time")
            .unwrap()
            .clone()
    }
}

fn hosts(discovered: &Discovered) -> Option<String> {
    match &discovered.membership {
        Membership::Known(set) => {
            let hosts: Vec<_> = set.as_slice().iter().map(|e| e.host.to_string()).collect();
            Some(hosts.join(" "))
        }
        Membership::Pending | Membership::Missing => None,
    }
}

#[tokio::test]
async fn follows_replacements_and_rewrites_in_place() {
    let scratch = Scratch::new();
    scratch.replace(r#"[{"host":"a","port":1},{"host":"b","port":"2"}]"#);
    let mut running = Running::start(&scratch);
    running.until(|d| hosts(d).as_deref() == Some("a b")).await;
    scratch.replace(r#"[{"host":"c","port":1}]"#);
    running.until(|d| hosts(d).as_deref() == Some("c")).await;
    // The same size and perhaps the same time stamp.
    std::fs::write(scratch.path(), r#"[{"host":"d","port":1}]"#).unwrap();
    running.until(|d| hosts(d).as_deref() == Some("d")).await;
}

#[tokio::test]
async fn a_missing_file_is_missing_and_may_appear() {
    let scratch = Scratch::new();
    let mut running = Running::start(&scratch);
    let missing = |d: &Discovered| matches!(d.membership, Membership::Missing);
    running.until(missing).await;
    scratch.replace("[]");
    running.until(|d| hosts(d).as_deref() == Some("")).await;
    std::fs::remove_file(scratch.path()).unwrap();
    running.until(missing).await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_word_until_it_is_mended() {
    let scratch = Scratch::new();
    scratch.replace(r#"[{"host":"a","port":1}]"#);
    let mut running = Running::start(&scratch);
    running.until(|d| hosts(d).as_deref() == Some("a")).await;
    for broken in ["", "[{", "{}", "[{\"host\":\"\u{1}\""] {
        scratch.replace(broken);
        let seen = running.until(|d| d.trouble.is_some()).await;
        assert_eq!(hosts(&seen).as_deref(), Some("a"), "{broken}");
        scratch.replace(r#"[{"host":"a","port":1}]"#);
        running.until(|d| d.trouble.is_none()).await;
    }
    std::fs::write(scratch.path(), b"\xff").unwrap();
    running.until(|d| d.trouble.is_some()).await;
}

#[tokio::test]
async fn an_unusable_item_is_skipped_and_named() {
    let scratch = Scratch::new();
    scratch.replace(r#"[{"host":"a","port":1},{"host":"b","port":0},7]"#);
    let mut running = Running::start(&scratch);
    let seen = running.until(|d| d.malformed_total == 2).await;
    assert_eq!(hosts(&seen).as_deref(), Some("a"));
    assert_eq!(seen.malformed[0].0, "[1]");
}

#[tokio::test]
async fn a_directory_is_trouble() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path()).unwrap();
    let mut running = Running::start(&scratch);
    let seen = running.until(|d| d.trouble.is_some()).await;
    assert!(seen.trouble.unwrap().ends_with("not a regular file"));
}
