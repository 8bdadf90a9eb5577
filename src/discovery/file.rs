//! A list of backends in a file: the registry for one host.
//!
//! The file is compared by identity (device, inode, size, times) and read when that changes, so an atomic replacement, a
//! rewrite in place and a symlink that is switched are all seen. Polling, because inotify knows nothing of network mounts
//! and loses a file that is replaced.
//!
//! A missing file is [`Membership::Missing`]. One that cannot be read or parsed keeps the last word, with trouble: half a
//! rewrite must not empty a service. A single unusable item is skipped and counted, the rest is used.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::publish::{Part, Publisher, Reading};
use super::{Discovered, Discovery, FileSourceSettings, MAX_SHOWN_MALFORMED, Membership};
use crate::disk::Identity;
use crate::endpoint::EndpointSet;
use crate::health::BoxFuture;
use crate::registry::record;

/// Largest file that is read, bytes: some 100,000 records. More is a mistake in the path.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Turns the text of a file into a value; the error is one line. Injected, because YAML belongs to `config`.
pub type Parse = fn(&str) -> Result<Value, String>;

/// The source of a service with `discovery: {method: file}`.
#[derive(Debug)]
pub struct FileDiscovery {
    settings: FileSourceSettings,
    parse: Parse,
}

impl FileDiscovery {
    /// `parse` reads JSON and YAML.
    pub fn new(settings: FileSourceSettings, parse: Parse) -> Self {
        Self { settings, parse }
    }
}

impl Discovery for FileDiscovery {
    fn run(
        self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let follower = Follower {
            settings: self.settings,
            parse: self.parse,
            publisher: Publisher::new(out),
            seen: Seen::default(),
        };
        Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = follower.follow() => {}
            }
        })
    }
}

#[derive(Debug)]
struct Follower {
    settings: FileSourceSettings,
    parse: Parse,
    publisher: Publisher,
    seen: Seen,
}

/// What was read last.
#[derive(Debug, Default)]
struct Seen {
    identity: Option<Identity>,
    /// The bytes, kept while the file is so young that its identity proves nothing.
    racy: Option<Vec<u8>>,
    /// The last reading was published, so the same bytes need no second one.
    is_good: bool,
}

impl Follower {
    async fn follow(mut self) {
        // A poll of zero would be a busy loop.
        let interval = self.settings.poll_interval.max(Duration::from_millis(10));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(text) = self.look().await {
                self.complain(text);
            }
        }
    }

    /// Compares, and reads if the file may have changed. The error is one line for people.
    async fn look(&mut self) -> Result<(), String> {
        let path = &self.settings.path;
        let metadata = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.seen = Seen::default();
                self.publish(Reading::new(Membership::Missing));
                return Ok(());
            }
            Err(error) => {
                self.seen = Seen::default();
                return Err(error.to_string());
            }
        };
        if !metadata.is_file() {
            // Opening a FIFO would block for ever.
            self.seen = Seen::default();
            return Err("not a regular file".to_owned());
        }
        let identity = Identity::of(&metadata);
        if self.seen.identity == Some(identity) && self.seen.racy.is_none() {
            if self.seen.is_good {
                self.publisher.confirm();
            }
            return Ok(());
        }
        let (identity, text) = read(path).await.map_err(|error| error.to_string())?;
        self.take(identity, text)
    }

    fn take(&mut self, identity: Identity, text: Vec<u8>) -> Result<(), String> {
        let is_same = self.seen.racy.as_ref() == Some(&text);
        self.seen.identity = Some(identity);
        if is_same {
            self.seen.racy = identity.is_racy().then_some(text);
            if self.seen.is_good {
                self.publisher.confirm();
            }
            return Ok(());
        }
        self.seen.is_good = false;
        let reading = self.decode(&text);
        self.seen.racy = identity.is_racy().then_some(text);
        self.publish(reading?);
        self.seen.is_good = true;
        Ok(())
    }

    fn decode(&self, text: &[u8]) -> Result<Reading, String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        let Value::Array(items) = (self.parse)(text)? else {
            return Err("not a list of backends".to_owned());
        };
        let mut reading = Reading::new(Membership::Pending);
        let mut endpoints = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match record::from_item(item) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => reading.add_malformed(format!("[{index}]"), error.to_string()),
            }
        }
        reading.membership = Membership::Known(EndpointSet::new(endpoints));
        if let Some((item, reason)) = reading.malformed.first() {
            let (path, total) = (self.settings.path.display(), reading.malformed_total);
            warn!(%path, total, item, reason, "unusable backends in the file skipped");
        }
        debug_assert!(reading.malformed.len() <= MAX_SHOWN_MALFORMED);
        Ok(reading)
    }

    fn publish(&self, reading: Reading) {
        if self.publisher.members(reading) {
            info!(path = %self.settings.path.display(), "the backend file is usable again");
        }
    }

    fn complain(&self, text: String) {
        let path = self.settings.path.display();
        let shown: Arc<str> = format!("{path}: {text}").into();
        if self.publisher.trouble(Part::Members, Some(shown)) {
            warn!(%path, reason = text, "the backend file is unusable, the last word stays");
        }
    }
}

/// The identity is taken from the open file *before* reading: a write in between gives a newer one at the next look.
async fn read(path: &Path) -> io::Result<(Identity, Vec<u8>)> {
    let file = File::open(path).await?;
    let metadata = file.metadata().await?;
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).await?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > MAX_FILE_BYTES) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok((Identity::of(&metadata), text))
}

#[cfg(test)]
mod tests {
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
            let settings = FileSourceSettings {
                path: scratch.path(),
                poll_interval: Duration::from_millis(10),
            };
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
}
