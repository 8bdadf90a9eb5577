//! Tests that need a process or a network of their own: the test runs itself again, as a child.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test support: clippy knows tests only by their attribute"
)]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

const MARK: &str = "SMARTSTACK_TEST_CHILD";

/// True in the child. In the parent: runs `test` (its full name) as a child, with an empty network and mounts of its
/// own when `own_network`, asserts that it passed, and returns false.
pub(crate) fn is_child(test: &str, own_network: bool) -> bool {
    if std::env::var(MARK).as_deref() == Ok(test) {
        return true;
    }
    let exe = std::env::current_exe().unwrap();
    let mut command = if own_network {
        let mut unshare = Command::new("unshare");
        // A user namespace of our own gives the right to make the others; root needs none.
        let flags = if rustix::process::geteuid().is_root() { "-nm" } else { "-rnm" };
        unshare.arg(flags).arg(exe);
        unshare
    } else {
        Command::new(exe)
    };
    let output = command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "child: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // The numbers in it.
    println!("{text}");
    false
}

/// `ip ARGUMENTS` in the child's network.
pub(crate) fn ip(arguments: &str) {
    sys("ip", arguments);
}

/// A program of the operating system; its arguments have no blanks.
pub(crate) fn sys(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "{program} {arguments}");
}

/// CPU time of this process, all threads. Holds its descriptor, so it works also when none are left.
#[derive(Debug)]
pub(crate) struct Cpu {
    stat: File,
    since: Instant,
    used: Duration,
}

impl Cpu {
    pub(crate) fn start() -> Self {
        let stat = File::open("/proc/self/stat").unwrap();
        let used = used(&stat);
        Self { stat, since: Instant::now(), used }
    }

    /// Share of one core since the start, 0.0..
    pub(crate) fn share(&self) -> f64 {
        let used = used(&self.stat).saturating_sub(self.used);
        used.as_secs_f64() / self.since.elapsed().as_secs_f64()
    }
}

/// Fields 14 and 15 in ticks of 10 ms.
fn used(stat: &File) -> Duration {
    let mut buffer = [0; 1024];
    let length = stat.read_at(&mut buffer, 0).unwrap();
    let text = String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned();
    let (_, fields) = text.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
