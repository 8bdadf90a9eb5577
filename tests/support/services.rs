//! Real services for nerve's checks: Debian's redis and RabbitMQ, on free ports of 127.0.0.1, in temporary directories.
//!
//! The including binary has `zookeeper.rs` as a sibling module. Every server is a child of the test process and is killed
//! (SIGKILL) in `Drop`, also on a panic; a watchdog shell kills it when the test process itself is killed. RabbitMQ has an
//! `epmd` of its own, a child as well, on a port of its own.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test support: clippy knows tests only by their attribute"
)]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::zookeeper::free_ports;
use super::zookeeper::member::pause;

/// The broker itself; `/usr/sbin/rabbitmq-server` changes user and directory first.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// How long a server may take to answer: RabbitMQ needs six seconds on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A server that answers. Dropped: killed, its files removed.
#[derive(Debug)]
pub(crate) struct Service {
    server: Server,
    /// What it needs while it lives: dropped after it.
    _helper: Option<Server>,
    dir: Dir,
    port: u16,
}

impl Service {
    /// A redis without persistence. With `password`, nobody may do anything without it.
    pub(crate) fn redis(password: Option<&str>) -> Self {
        let dir = Dir::fresh("redis");
        let port = free_ports(1)[0];
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&dir.0);
        if let Some(password) = password {
            command.args(["--requirepass", password]);
        }
        let server = Server::spawn(command, &dir.0, "redis-server");
        wait_for(addr(port), b"PING\r\n", &dir.0);
        Self { server, _helper: None, dir, port }
    }

    /// A RabbitMQ broker without plugins; guest/guest may do everything.
    pub(crate) fn rabbitmq() -> Self {
        let dir = Dir::fresh("rabbitmq");
        let ports = free_ports(3);
        let (port, dist, epmd_port) = (ports[0], ports[1], ports[2]);
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        let epmd = Server::spawn(command, &dir.0, "erlang-base");
        wait_for(addr(epmd_port), b"\0\x01n", &dir.0);
        let mut command = Command::new(RABBITMQ);
        broker_environment(&mut command, &dir.0, [port, dist, epmd_port]);
        let server = Server::spawn(command, &dir.0, "rabbitmq-server");
        wait_for(addr(port), b"AMQP\0\0\x09\x01", &dir.0);
        Self { server, _helper: Some(epmd), dir, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGSTOP: the kernel still accepts connections, nobody answers.
    pub(crate) fn stop(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn cont(&self) {
        self.server.signal(Signal::CONT);
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.0.join("output")).expect("its output")
    }
}

/// Everything below `dir`, on these ports of 127.0.0.1: AMQP, distribution, epmd.
fn broker_environment(command: &mut Command, dir: &Path, [port, dist, epmd]: [u16; 3]) {
    command
        .env("HOME", dir)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", epmd.to_string())
        .env("RABBITMQ_NODENAME", format!("smartstack{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", dist.to_string())
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"))
        .env("RABBITMQ_CONFIG_FILE", dir.join("none"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
        )
        // The shell becomes the broker instead of watching over it.
        .env("RUNNING_UNDER_SYSTEMD", "1");
}

fn addr(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A child that is killed with this.
#[derive(Debug)]
struct Server(Child);

impl Server {
    fn spawn(mut command: Command, dir: &Path, package: &str) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("output"));
        let log = log.expect("log file");
        let child = command
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{package}: {error}; apt-get install -y --no-install-recommends {package}")
        });
        guard_against_our_death(child.id(), dir);
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("our own child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("{}: {error}", self.0.id());
        }
    }
}

/// A directory that is removed with this.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn fresh(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("smartstack-{name}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("temporary directory");
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Waits until somebody answers `question`; panics with the server's output at the deadline.
fn wait_for(addr: SocketAddr, question: &[u8], dir: &Path) {
    let second = Duration::from_secs(1);
    let answers = || {
        let mut stream = TcpStream::connect_timeout(&addr, second).ok()?;
        stream.set_read_timeout(Some(second)).ok()?;
        stream.write_all(question).ok()?;
        (stream.read(&mut [0; 64]).ok()? > 0).then_some(())
    };
    let deadline = Instant::now() + START_DEADLINE;
    while answers().is_none() {
        if Instant::now() > deadline {
            panic!(
                "{addr} does not answer:\n{}",
                fs::read_to_string(dir.join("output")).unwrap_or_default()
            );
        }
        pause(Duration::from_millis(20));
    }
}

/// A shell that lives until our end of its stdin is closed, which the kernel does also when we are killed. It looks where
/// the process runs before it kills: the number may belong to somebody else by then.
fn guard_against_our_death(pid: u32, dir: &Path) {
    let dir = dir.display();
    let script = format!(
        "read _; [ \"$(readlink /proc/{pid}/cwd)\" = {dir} ] && kill -9 {pid}; rm -rf {dir}"
    );
    let watchdog = Command::new("sh")
        .args(["-c", &script])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh");
    // Never closed by us: the pipe is to break with the process. One descriptor per started server.
    std::mem::forget(watchdog);
}
