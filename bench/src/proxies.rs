//! The two proxies, configured alike: no logs, the same timeouts, retries and balancing, one thread for the data.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Outcome, machine};

/// Everything listens here or next to it: an address of the bench's own.
pub(crate) const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 1, 1));

/// How long a proxy may take until it is ready.
const START: Duration = Duration::from_secs(20);

/// Client connections, both sides. Small enough for the usual limit of descriptors.
const MAXCONN: &str = "maxconn 2000";

/// What both sides understand.
const DEFAULTS: &[&str] = &[
    "timeout connect 1s",
    "timeout client 30s",
    "timeout server 30s",
    "timeout check 1s",
    "retries 3",
    "option redispatch",
    "balance roundrobin",
    "http-reuse always",
];

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Debian's.
    Haproxy,
    /// Ours.
    Synapse,
}

impl Kind {
    /// Key in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Synapse => "synapse",
        }
    }

    /// Where it listens.
    pub(crate) fn front(self) -> SocketAddr {
        SocketAddr::new(IP, if self == Self::Haproxy { 7001 } else { 7002 })
    }

    /// First line of what it says about its version.
    pub(crate) fn version(self, synapse: &Path) -> Outcome<String> {
        let mut command = match self {
            Self::Haproxy => Command::new(haproxy()),
            Self::Synapse => Command::new(synapse),
        };
        let flag = if self == Self::Haproxy { "-v" } else { "--version" };
        let output = command.arg(flag).stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("{}: {e}", self.name()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// Where synapse's admin server listens.
pub(crate) fn admin() -> SocketAddr {
    SocketAddr::new(IP, 7003)
}

/// A running proxy. Killed when dropped; the kernel kills it when we die.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    log: PathBuf,
}

impl Proxy {
    /// haproxy with fixed servers.
    pub(crate) fn haproxy(
        dir: &Path,
        mode: &str,
        servers: &[SocketAddr],
        core: usize,
    ) -> Outcome<Self> {
        let mut text = format!("global\n nbthread 1\n nosplice\n {MAXCONN}\ndefaults\n");
        for line in DEFAULTS {
            text.push_str(&format!(" {line}\n"));
        }
        let front = Kind::Haproxy.front();
        text.push_str(&format!("listen it\n mode {mode}\n bind {front}\n"));
        for (number, addr) in servers.iter().enumerate() {
            text.push_str(&format!(" server s{number} {addr}\n"));
        }
        let file = dir.join("haproxy.cfg");
        fs::write(&file, text)?;
        let args = ["-db".as_ref(), "-q".as_ref(), "-f".as_ref(), file.as_os_str()];
        let proxy = Self::spawn(&haproxy(), &args, &dir.join("haproxy.log"), core)?;
        proxy.until(|| TcpStream::connect(front).is_ok())
    }

    /// synapse with one service.
    pub(crate) fn synapse(
        binary: &Path,
        dir: &Path,
        service: &Value,
        core: usize,
    ) -> Outcome<Self> {
        let config = json!({
            "admin": {"listen": admin().to_string()},
            "state_dir": dir.join("state"),
            "workers": 1,
            "services": {"it": service},
            "haproxy": {
                "do_writes": false, "do_reloads": false, "do_socket": false,
                "global": [MAXCONN], "defaults": DEFAULTS
            }
        });
        let file = dir.join("synapse.conf.json");
        fs::write(&file, format!("{config:#}"))?;
        let args = ["-c".as_ref(), file.as_os_str()];
        let proxy = Self::spawn(binary, &args, &dir.join("synapse.log"), core)?;
        proxy.until(|| ask_admin("/ready").is_ok())
    }

    fn spawn(program: &Path, args: &[&std::ffi::OsStr], log: &Path, core: usize) -> Outcome<Self> {
        let file = File::create(log)?;
        let before = rustix::thread::sched_getaffinity(None)?;
        machine::pin(core)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(args)
            .env_remove("SYNAPSE_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        rustix::thread::sched_setaffinity(None, &before)?;
        let child = child.map_err(|e| format!("setpriv {}: {e}", program.display()))?;
        let log = log.to_owned();
        Ok(Self { child, log })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "before any load: a start is looked at from outside"
    )]
    fn until(mut self, is_ready: impl Fn() -> bool) -> Outcome<Self> {
        let end = Instant::now() + START;
        loop {
            if is_ready() {
                return Ok(self);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("not ready ({ended:?}): {}\n{log}", self.log.display()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process id (`setpriv` has become the program).
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("{}: {error}", self.log.display());
        }
    }
}

/// A service of synapse with fixed servers.
pub(crate) fn fixed(mode: &str, servers: &[SocketAddr]) -> Value {
    let servers: Vec<Value> = servers
        .iter()
        .enumerate()
        .map(|(n, addr)| json!({"name": format!("s{n}"), "host": addr.ip().to_string(), "port": addr.port()}))
        .collect();
    json!({
        "default_servers": servers,
        "discovery": {"method": "base"},
        "haproxy": listener(mode, &[], "")
    })
}

/// The `haproxy:` section of a service; `server_options` is for every server.
pub(crate) fn listener(mode: &str, lines: &[&str], server_options: &str) -> Value {
    let front = Kind::Synapse.front();
    let mut listen = vec![format!("mode {mode}")];
    listen.extend(lines.iter().map(|line| (*line).to_owned()));
    json!({"port": front.port(), "bind_address": front.ip().to_string(), "backend_order": "asc",
        "server_options": server_options, "listen": listen})
}

/// The body of a 200 of the admin server.
pub(crate) fn ask_admin(path: &str) -> Outcome<String> {
    let second = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&admin(), second)?;
    stream.set_read_timeout(Some(second))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(answer.lines().next().unwrap_or("no answer").into()),
    }
}

/// Debian keeps it out of users' PATH.
fn haproxy() -> PathBuf {
    let debian = PathBuf::from("/usr/sbin/haproxy");
    if debian.exists() { debian } else { "haproxy".into() }
}
