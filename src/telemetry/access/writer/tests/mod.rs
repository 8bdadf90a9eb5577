//! The writer against receivers and files of every kind.

mod datagrams;
mod files;
mod heads;
mod torn;

use std::path::{Path, PathBuf};

use super::*;
use crate::telemetry::access::testing::{log_to, request};
use crate::telemetry::access::{AccessLog, Framing, Level, Pen, Place, Target};

const LONG: Duration = Duration::from_secs(10);

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("access-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn file(path: &Path) -> Target {
    Target::raw(Place::File(path.to_owned()))
}

fn lines_of(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Writes `count` lines and waits until the writer is through with them.
async fn write(writer: &Writer, log: &Arc<AccessLog>, count: usize) {
    let mut pen = Pen::to(writer.clone());
    for _ in 0..count {
        pen.write(log, &request(b"GET / HTTP/1.1"));
    }
    drop(pen);
    assert!(writer.finish(LONG).await);
}

/// Writes a line at a time until `done`: an outage ends with a line.
async fn write_until(writer: &Writer, log: &Arc<AccessLog>, done: impl Fn() -> bool) {
    let all = async {
        while !done() {
            write(writer, log, 1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, all).await.unwrap();
}
