//! One test's private world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::origin::{Origin, OriginProcess};
use super::synapse::Synapse;

/// How many tests run at the same time, whatever `--test-threads` says: each runs a few processes, some a JVM.
const PERMITS: u32 = 4;
static TURNS: Semaphore = Semaphore::const_new(PERMITS as usize);
static LABS: AtomicU32 = AtomicU32::new(1);

/// A test's address, directory and turn. Dropped last: it removes the directory.
pub(crate) struct Lab {
    ip: Ipv4Addr,
    dir: PathBuf,
    next_port: AtomicU16,
    _turn: SemaphorePermit<'static>,
}

impl Lab {
    /// A lab beside others.
    pub(crate) async fn new() -> Self {
        Self::with_turns(1).await
    }

    /// A lab while no other test of this binary runs: for everything that measures time or CPU.
    pub(crate) async fn alone() -> Self {
        Self::with_turns(PERMITS).await
    }

    async fn with_turns(turns: u32) -> Self {
        let turn = TURNS.acquire_many(turns).await.expect("never closed");
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // All of 127/8 is loopback on Linux: an address per test means that no two of them can fight over a port.
        let last = u8::try_from(1 + number % 254).expect("below 255");
        let ip = Ipv4Addr::new(127, 64 + high % 128, low, last);
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("lab-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for the test");
        Self { ip, dir, next_port: AtomicU16::new(20_000), _turn: turn }
    }

    /// This lab's loopback address.
    pub(crate) fn ip(&self) -> IpAddr {
        IpAddr::V4(self.ip)
    }

    /// An address of this lab that nobody listens on.
    pub(crate) fn free_addr(&self) -> SocketAddr {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        SocketAddr::new(self.ip(), port)
    }

    /// This lab's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file into the directory; gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().expect("inside the lab")).expect("directory");
        std::fs::write(&path, text).expect("write a file");
        path
    }

    /// An HTTP backend in this process.
    pub(crate) async fn origin(&self, name: &str) -> Origin {
        Origin::http(name, self.free_addr()).await
    }

    /// A TCP backend in this process.
    pub(crate) async fn tcp_origin(&self, name: &str) -> Origin {
        Origin::tcp(name, self.free_addr()).await
    }

    /// An HTTP backend in a process of its own, for `kill -9`.
    pub(crate) async fn origin_process(&self, name: &str) -> OriginProcess {
        OriginProcess::start(name, self.free_addr()).await
    }

    /// The same at an address of the test's choice: a backend that comes back.
    pub(crate) async fn origin_process_at(&self, name: &str, addr: SocketAddr) -> OriginProcess {
        OriginProcess::start(name, addr).await
    }

    /// Starts `synapse` and waits until it is ready.
    pub(crate) async fn synapse(&self, config: Value) -> Synapse {
        let synapse = self.synapse_unready(config).await;
        synapse.until_ready().await;
        synapse
    }

    /// Starts `synapse`; returns when its admin server answers, ready or not.
    pub(crate) async fn synapse_unready(&self, config: Value) -> Synapse {
        self.synapse_in(config, &[]).await
    }

    /// The same with these environment variables.
    pub(crate) async fn synapse_in(&self, config: Value, env: &[(&str, &str)]) -> Synapse {
        Synapse::start(self, config, env).await
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("lab kept: {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}
