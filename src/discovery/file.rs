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
mod tests;
