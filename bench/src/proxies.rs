//! The two proxies, configured alike: no logs, the same timeouts, retries and balancing, one thread for the data.

use std::ffi::OsStr;
use std::fmt;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Ours.
    Synapse,
    /// Debian's.
    Haproxy,
    /// Debian's `nginx-light`.
    Nginx,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    /// Key in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Synapse => "synapse",
            Self::Nginx => "nginx",
        }
    }

    /// Where it listens.
    pub(crate) fn front(self) -> SocketAddr {
        let port = match self {
            Self::Haproxy => 7001,
            Self::Synapse => 7002,
            // 7003 is synapse's admin server.
            Self::Nginx => 7004,
        };
        SocketAddr::new(IP, port)
    }

    /// Whether it is asked to proxy `http`, `tcp`.
    pub(crate) fn can(self, mode: &str) -> bool {
        match self {
            Self::Synapse | Self::Haproxy => true,
            Self::Nginx => mode == "http",
        }
    }

    /// First line of what it says about its version.
    pub(crate) fn version(self, synapse: &Path) -> Outcome<String> {
        let (program, flag) = match self {
            Self::Haproxy => (debian("haproxy"), "-v"),
            Self::Synapse => (synapse.to_owned(), "--version"),
            Self::Nginx => (debian("nginx"), "-v"),
        };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output();
        let mut output = output.map_err(|e| format!("{}: {e}", self.name()))?;
        // nginx says it on stderr.
        output.stdout.append(&mut output.stderr);
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
    kind: Kind,
    child: Child,
    log: PathBuf,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
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
        let proxy = Self::spawn(Kind::Haproxy, &debian("haproxy"), &args, dir, core)?;
        proxy.until(|| TcpStream::connect(front).is_ok())
    }

    /// nginx with fixed servers, HTTP.
    pub(crate) fn nginx(dir: &Path, servers: &[SocketAddr], core: usize) -> Outcome<Self> {
        let file = dir.join("nginx.conf");
        fs::write(&file, nginx(dir, servers))?;
        let args = ["-c".as_ref(), file.as_os_str()];
        let proxy = Self::spawn(Kind::Nginx, &debian("nginx"), &args, dir, core)?;
        proxy.until(|| TcpStream::connect(Kind::Nginx.front()).is_ok())
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
        let proxy = Self::spawn(Kind::Synapse, binary, &args, dir, core)?;
        proxy.until(|| ask_admin("/ready").is_ok())
    }

    fn spawn(
        kind: Kind,
        program: &Path,
        args: &[&OsStr],
        dir: &Path,
        core: usize,
    ) -> Outcome<Self> {
        let log = dir.join(format!("{kind}.log"));
        let file = File::create(&log)?;
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
        Ok(Self { kind, child, log })
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

    /// Which one it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients connect.
    pub(crate) fn front(&self) -> SocketAddr {
        self.kind.front()
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

/// Debian keeps them out of users' PATH.
fn debian(program: &str) -> PathBuf {
    let debian = Path::new("/usr/sbin").join(program);
    if debian.exists() { debian } else { program.into() }
}

/// nginx with fixed servers: one process, streaming in both directions as the others do, and none of its brakes (a
/// server that failed once is not avoided, connections are not closed after so many requests, no Nagle).
fn nginx(dir: &Path, servers: &[SocketAddr]) -> String {
    let front = Kind::Nginx.front();
    let servers: String =
        servers.iter().map(|addr| format!("server {addr} max_fails=0;")).collect();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {}/nginx_{what};\n", dir.display()))
        .collect();
    format!(
        "daemon off; master_process off; worker_processes 1;
pid {dir}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
{temp}
access_log off; tcp_nodelay on; keepalive_timeout 30s; keepalive_requests 1000000000;
upstream it {{ {servers} keepalive 512; keepalive_requests 1000000000; }}
server {{
  listen {front} backlog=4096;
  location / {{
    proxy_pass http://it; proxy_http_version 1.1; proxy_set_header Connection \"\";
    proxy_connect_timeout 1s; proxy_read_timeout 30s; proxy_send_timeout 30s;
    proxy_request_buffering off; proxy_max_temp_file_size 0;
  }}
}}
}}
",
        dir = dir.display()
    )
}
