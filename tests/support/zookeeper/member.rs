//! One server process of the tests.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::{INSTALL, JAR, Setup};

/// How long a server may take to answer `srvr`: half a second on an idle machine, several on a loaded one.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A program has become itself by then, on whatever machine.
const PORT_DEADLINE: Duration = Duration::from_secs(2);

/// One server process.
#[derive(Debug)]
pub(crate) struct Member {
    addr: SocketAddr,
    dir: PathBuf,
    /// The program and its arguments.
    command: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Member {
    pub(super) fn create(
        dir: &Path,
        index: usize,
        port: u16,
        quorum: &str,
        setup: &Setup<'_>,
    ) -> Self {
        let dir = dir.join(format!("m{}", index + 1));
        let data = dir.join("data");
        fs::create_dir_all(&data).expect("temporary directory");
        fs::write(data.join("myid"), format!("{}\n", index + 1)).expect("myid");
        let config = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             4lw.commands.whitelist=*\nforceSync=no\nadmin.enableServer=false\n{quorum}{}\n",
            data.display(),
            setup.config,
        );
        let file = dir.join("zoo.cfg");
        fs::write(&file, config).expect("zoo.cfg");
        let command = setup
            .launcher
            .iter()
            .chain(&["java", "-Xms32m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .chain(setup.jvm)
            .map(|argument| (*argument).to_owned())
            .chain(["-cp".to_owned(), format!("/usr/share/java/slf4j-simple.jar:{JAR}")])
            .chain(["org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned()])
            .chain([file.display().to_string()])
            .collect();
        let addr = SocketAddr::from((setup.host, port));
        Self { addr, dir, command, child: Mutex::new(None) }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn connect_string(&self) -> String {
        self.addr().to_string()
    }

    /// The client port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("data/version-2")
    }

    /// The server's process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Child::id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn spawn(&self) {
        if self.addr.ip().is_loopback() {
            self.wait_for_port();
        }
        let log = fs::File::create(self.dir.join("log")).expect("log file");
        let (program, arguments) = self.command.split_first().expect("at least java");
        let java = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; {INSTALL}"));
        guard_against_our_death(java.id(), &self.dir);
        *self.lock() = Some(java);
    }

    /// Somebody else on our port would answer `srvr` in our server's place. A program that another thread is just starting
    /// still holds whatever is bound here, until its `exec`.
    fn wait_for_port(&self) {
        let deadline = Instant::now() + PORT_DEADLINE;
        while let Err(error) = TcpListener::bind(self.addr) {
            assert!(
                Instant::now() < deadline,
                "the client port {} is not free: {error}",
                self.addr
            );
            pause(Duration::from_millis(5));
        }
    }

    pub(super) fn spawn_if_dead(&self) {
        if self.pid().is_none() {
            self.spawn();
        }
    }

    /// Starts a killed server again with its data, and waits until it serves.
    pub(crate) fn restart(&self) {
        self.spawn_if_dead();
        self.wait_serving();
    }

    /// Starts a killed server again without waiting.
    pub(crate) fn restart_without_waiting(&self) {
        self.spawn_if_dead();
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill9(&self) {
        if let Some(mut child) = self.lock().take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// SIGSTOP: the kernel still accepts connections, nobody answers.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn cont(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("the server runs");
        let pid = Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("our own child");
    }

    /// Removes the data of a killed server: it comes back empty.
    pub(crate) fn wipe(&self) {
        assert!(self.pid().is_none(), "kill it first");
        fs::remove_dir_all(self.database()).expect("server data");
    }

    /// Resets all established connections to this server's client port (`ss -K`; needs CAP_NET_ADMIN).
    pub(crate) fn cut_sockets(&self) {
        let port = format!("dport = :{}", self.addr.port());
        let cut = Command::new("ss")
            .args(["-K", "-t", "dst", "127.0.0.1", &port])
            .output()
            .expect("ss (iproute2)");
        assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    }

    /// Asks a four-letter word; `None` when nobody answers within a second.
    pub(crate) fn four_letters(&self, word: &str) -> Option<String> {
        let second = Some(Duration::from_secs(1));
        let mut stream = TcpStream::connect_timeout(&self.addr(), Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(second).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// `standalone`, `leader` or `follower`; `None` while it does not serve.
    pub(crate) fn mode(&self) -> Option<String> {
        let answer = self.four_letters("srvr")?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.to_owned())
    }

    /// Whether it leads, or stands alone.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.mode().as_deref(), Some("leader" | "standalone"))
    }

    /// Waits until the server serves requests.
    ///
    /// Panics with the server's log when it does not within a minute.
    pub(crate) fn wait_serving(&self) {
        let deadline = Instant::now() + START_DEADLINE;
        while self.mode().is_none() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                panic!("{} does not serve:\n{log}", self.addr());
            }
            pause(Duration::from_millis(20));
        }
    }
}

/// Polling the outside world between two looks, for code that is not async.
#[expect(clippy::disallowed_methods, reason = "no runtime here; tests only")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A shell that lives until our end of its stdin is closed, which the kernel does also when we are killed. It looks
/// before it kills: the number may belong to somebody else by then.
fn guard_against_our_death(pid: u32, dir: &Path) {
    let dir = dir.display();
    let script = format!(
        "read _; grep -qs {dir}/zoo.cfg /proc/{pid}/cmdline && kill -9 {pid} && rm -rf {dir} && rmdir $(dirname {dir})"
    );
    let watchdog = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh");
    // Never closed by us: the pipe is to break with the process. One descriptor per started server.
    std::mem::forget(watchdog);
}
