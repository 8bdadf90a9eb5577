//! Real ZooKeeper servers for tests: standalone or an ensemble, on free ports of 127.0.0.1, in a temporary directory.
//!
//! Shared between test binaries with `#[path = "../support/zookeeper.rs"] mod zk;`. Every server is a child of the test
//! process and is killed (SIGKILL) in `Drop`, also on a panic; a watchdog shell kills it when the test process itself
//! is killed. Signals go only to processes started here.
//!
//! ```ignore
//! let zk = Zk::standalone();
//! let client = zk.client().await;           // the independent client: zookeeper-client without our relay
//! start_something(zk.connect_string());
//! zk.member(0).kill9(); zk.member(0).restart();
//! ```

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test support: clippy knows tests only by their attribute"
)]
#![allow(dead_code, reason = "each test binary uses its part")]

// Spelled out, because this file is included by its path as well.
#[path = "zookeeper/clients.rs"]
pub(crate) mod clients;
#[path = "zookeeper/member.rs"]
pub(crate) mod member;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use zookeeper_client::{Acls, Client, CreateMode, CreateOptions};

pub(crate) use self::member::Member;

const JAR: &str = "/usr/share/java/zookeeper.jar";
const INSTALL: &str =
    "apt-get install -y --no-install-recommends libzookeeper-java openjdk-17-jre-headless";

/// Options of a plain persistent node that anybody may read and write.
pub(crate) const PERSISTENT: CreateOptions<'static> =
    CreateMode::Persistent.with_acls(Acls::anyone_all());
/// Options of an ephemeral node that anybody may read and write.
pub(crate) const EPHEMERAL: CreateOptions<'static> =
    CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// How servers are started, where that differs from one server on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// How many; more than one elect a leader.
    pub(crate) size: usize,
    /// Further lines of `zoo.cfg`; they override ours.
    pub(crate) config: &'a str,
    /// Further arguments of the virtual machine.
    pub(crate) jvm: &'a [&'a str],
    /// What starts the virtual machine, for a server in another network: `nsenter -t PID -n`.
    pub(crate) launcher: &'a [&'a str],
    /// Where the servers are reached from here.
    pub(crate) host: Ipv4Addr,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { size: 1, config: "", jvm: &[], launcher: &[], host: Ipv4Addr::LOCALHOST }
    }
}

/// A standalone server or an ensemble. Dropped: all servers are killed, all files removed.
#[derive(Debug)]
pub(crate) struct Zk {
    members: Vec<Member>,
    dir: PathBuf,
}

impl Zk {
    /// One server with a tick of 500 ms: session timeouts of 1..=10 s. Returns when it answers.
    pub(crate) fn standalone() -> Self {
        Self::with(&Setup::default())
    }

    /// One server with further lines in its `zoo.cfg` (they override ours).
    pub(crate) fn standalone_with(config: &str) -> Self {
        Self::with(&Setup { config, ..Setup::default() })
    }

    /// `size` servers that elect a leader. Returns when all of them serve.
    pub(crate) fn ensemble(size: usize) -> Self {
        Self::with(&Setup { size, ..Setup::default() })
    }

    /// Servers as described. Returns when all of them serve.
    pub(crate) fn with(setup: &Setup<'_>) -> Self {
        assert!(Path::new(JAR).exists(), "ZooKeeper is not installed: {INSTALL}");
        let dir = fresh_dir();
        let ports = free_ports(setup.size * 3);
        let (client_ports, rest) = ports.split_at(setup.size);
        let mut quorum = String::new();
        if setup.size > 1 {
            for (index, pair) in rest.chunks(2).enumerate() {
                let line = format!("server.{}=127.0.0.1:{}:{}\n", index + 1, pair[0], pair[1]);
                quorum.push_str(&line);
            }
            quorum.push_str("initLimit=10\nsyncLimit=4\n");
        }
        let members = client_ports
            .iter()
            .enumerate()
            .map(|(index, port)| Member::create(&dir, index, *port, &quorum, setup))
            .collect();
        let zk = Self { members, dir };
        for member in &zk.members {
            member.spawn();
        }
        zk.wait_serving();
        zk
    }

    /// `127.0.0.1:PORT,…` of all members, without a chroot.
    pub(crate) fn connect_string(&self) -> String {
        let members: Vec<_> = self.members.iter().map(Member::connect_string).collect();
        members.join(",")
    }

    /// The servers, in the order of their ids.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// One server, 0-based.
    pub(crate) fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// The member that leads (`Mode: leader` or `standalone`).
    ///
    /// Panics when nobody leads.
    pub(crate) fn leader(&self) -> &Member {
        self.members.iter().find(|member| member.leads()).expect("no member leads")
    }

    /// Waits until all running members serve.
    pub(crate) fn wait_serving(&self) {
        for member in &self.members {
            member.wait_serving();
        }
    }

    /// Kills every member with SIGKILL.
    pub(crate) fn kill9(&self) {
        self.members.iter().for_each(Member::kill9);
    }

    /// SIGSTOP for every member: connections are accepted by the kernel, nobody answers.
    pub(crate) fn stop(&self) {
        self.members.iter().for_each(Member::stop);
    }

    /// SIGCONT for every member.
    pub(crate) fn cont(&self) {
        self.members.iter().for_each(Member::cont);
    }

    /// Removes the data of all (killed) members.
    pub(crate) fn wipe(&self) {
        self.members.iter().for_each(Member::wipe);
    }

    /// Resets all established connections to all members' client ports.
    pub(crate) fn cut_sockets(&self) {
        self.members.iter().for_each(Member::cut_sockets);
    }

    /// Copies the data of a standalone server, as operators do for a backup.
    pub(crate) fn back_up(&self) -> Backup {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let backup = Backup(self.dir.join(format!("backup-{number}")));
        copy(&self.member(0).database(), &backup.0);
        backup
    }

    /// Kills a standalone server and starts it with the data of a backup.
    pub(crate) fn restore(&self, backup: &Backup) {
        self.kill9();
        self.wipe();
        copy(&backup.0, &self.member(0).database());
        self.restart();
    }

    /// Starts every member that does not run, and waits until all serve.
    pub(crate) fn restart(&self) {
        for member in &self.members {
            member.spawn_if_dead();
        }
        self.wait_serving();
    }

    /// An independent client with a session of its own (10 s), directly to the servers.
    pub(crate) async fn client(&self) -> Client {
        Client::connector()
            .with_session_timeout(Duration::from_secs(10))
            .connect(&self.connect_string())
            .await
            .expect("the independent client connects")
    }
}

impl Drop for Zk {
    fn drop(&mut self) {
        self.kill9();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}

/// A copy of a server's data, beside it.
#[derive(Debug)]
pub(crate) struct Backup(PathBuf);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory for a copy");
    for file in fs::read_dir(from).expect("a server's data") {
        let file = file.expect("readable");
        fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

fn fresh_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("smartstack-zk-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).expect("temporary directory");
    dir
}

/// Ports of 127.0.0.1 that are free now, of a part of the range from which nobody gets one by chance: neither a client, as
/// long as the server is dead, nor whoever binds port 0. No two calls give the same before all have been given.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u16 = 24_000;
    // Below Linux's `ip_local_port_range`.
    const SIZE: u32 = 8_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other processes of tests begin elsewhere.
    let offset = std::process::id().wrapping_mul(97);
    let next = || {
        let number = offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % SIZE;
        FIRST + u16::try_from(number).expect("below the size")
    };
    let mut bound = Vec::new();
    for _ in 0..SIZE {
        if bound.len() == count {
            break;
        }
        let port = next();
        bound.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|it| (port, it)));
    }
    assert_eq!(bound.len(), count, "free ports from {FIRST} on");
    bound.into_iter().map(|(port, _listener)| port).collect()
}
