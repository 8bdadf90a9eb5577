//! The proxies: where they listen, how they start and end.

mod conf;
mod programs;
mod setup;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::machine::Cores;
use crate::{Outcome, machine};

pub(crate) use conf::listener;
use programs::debian;
pub(crate) use programs::{Programs, version};
pub(crate) use setup::{BACKENDS, Kind, Logs, Setup};

/// Everything listens here or next to it: an address of the bench's own.
pub(crate) const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 1, 1));

/// How long a proxy may take until it is ready: fifty times as long as usual under valgrind.
const START: Duration = Duration::from_secs(60);

/// How long it may take to stop when it is asked to.
const STOP: Duration = Duration::from_secs(60);

/// The addresses of a proxy: several run side by side, each with a number, at most 50.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site(pub(crate) u16);

impl Site {
    /// Where clients connect.
    pub(crate) fn front(self) -> SocketAddr {
        SocketAddr::new(IP, 7001 + self.0)
    }

    /// Where the clients of one of its services connect.
    fn service(self, number: u16) -> SocketAddr {
        match number {
            0 => self.front(),
            _ => SocketAddr::new(IP, 7300 + 50 * self.0 + number),
        }
    }

    /// Where synapse's admin server listens.
    pub(crate) fn admin(self) -> SocketAddr {
        SocketAddr::new(IP, 7051 + self.0)
    }

    /// Where its syslog datagrams go.
    pub(crate) fn log(self) -> SocketAddr {
        SocketAddr::new(IP, 7051 + self.0)
    }

    /// The body of a 200 of the admin server.
    pub(crate) fn ask_admin(self, path: &str) -> Outcome<String> {
        let second = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&self.admin(), second)?;
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
}

/// The number of an origin that is a process of its own.
const ORIGIN_SITE: Site = Site(49);

/// The address of a synapse that is alone.
pub(crate) const SITE: Site = Site(0);

/// A running proxy. Killed when dropped; the kernel kills it when we die.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// How it is configured.
    pub(crate) setup: Setup,
    /// Where it is.
    pub(crate) site: Site,
    child: Child,
    /// Standard error.
    log: PathBuf,
    /// Standard output.
    out: PathBuf,
}

impl Proxy {
    /// A proxy of fixed servers.
    pub(crate) fn start(
        setup: Setup,
        site: Site,
        programs: &Programs,
        (dir, mode, servers): (&Path, &str, &[SocketAddr]),
        cores: Cores,
    ) -> Outcome<Self> {
        let file = dir.join(format!("{}{}.conf", setup.kind, site.0));
        let text = match setup.kind {
            Kind::Synapse | Kind::Before => {
                let service = conf::fixed(&setup, site, mode, servers);
                return Self::synapse(
                    setup,
                    site,
                    (dir, &programs.program(setup.kind), &service),
                    cores,
                );
            }
            Kind::Haproxy => conf::haproxy(&setup, site, mode, servers),
            Kind::Nginx => conf::nginx(&setup, site, dir, servers),
            Kind::Envoy => format!("{:#}", conf::envoy(site, servers)),
            Kind::Pingora => String::new(),
        };
        fs::write(&file, text)?;
        let file = file.into_os_string();
        let mut args: Vec<OsString> = match setup.kind {
            Kind::Synapse | Kind::Before | Kind::Pingora => Vec::new(),
            // With `-q` it would close its standard output.
            Kind::Haproxy => vec!["-db".into(), "-f".into(), file],
            Kind::Nginx => vec!["-c".into(), file],
            Kind::Envoy => ["--concurrency", "1", "--disable-hot-restart", "-l", "warn", "-c"]
                .into_iter()
                .map(OsString::from)
                .chain([file])
                .collect(),
        };
        if setup.kind == Kind::Pingora {
            let addrs = [site.front()].into_iter().chain(servers.iter().copied());
            args.extend(addrs.map(|addr| addr.to_string().into()));
        }
        let proxy = Self::spawn(setup, site, (dir, &programs.program(setup.kind), &args), cores)?;
        proxy.until(|| TcpStream::connect(site.front()).is_ok())
    }

    /// An origin that speaks HTTP/2, on the load's core.
    pub(crate) fn http2_origin(dir: &Path, addrs: &[SocketAddr], cores: Cores) -> Outcome<Self> {
        let (setup, site) = (Setup::of(Kind::Haproxy), ORIGIN_SITE);
        let file = dir.join("origin.conf");
        fs::write(&file, conf::http2_origin(addrs))?;
        let args = ["-db".into(), "-f".into(), file.into_os_string()];
        let cores = Cores { proxy: cores.load, ..cores };
        let origin = Self::spawn(setup, site, (dir, &debian("haproxy"), &args), cores)?;
        origin.until(|| addrs.iter().all(|addr| TcpStream::connect(addr).is_ok()))
    }

    /// synapse with one service.
    pub(crate) fn synapse(
        setup: Setup,
        site: Site,
        (dir, binary, service): (&Path, &Path, &Value),
        cores: Cores,
    ) -> Outcome<Self> {
        let file = dir.join(format!("synapse{}.conf.json", site.0));
        fs::write(&file, format!("{:#}", conf::synapse(&setup, site, dir, service)))?;
        let args = ["-c".into(), file.into_os_string()];
        let proxy = Self::spawn(setup, site, (dir, binary, &args), cores)?;
        proxy.until(|| site.ask_admin("/ready").is_ok())
    }

    fn spawn(
        setup: Setup,
        site: Site,
        (dir, program, args): (&Path, &Path, &[OsString]),
        cores: Cores,
    ) -> Outcome<Self> {
        let name = format!("{}{}", setup.kind, site.0);
        let (log, out) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.out")));
        let file = File::create(&log)?;
        // Appended to, so that it can be emptied meanwhile.
        File::create(&out)?;
        let stdout = match setup.logs {
            Logs::Stdout => File::options().append(true).open(&out)?.into(),
            Logs::Off | Logs::Udp => Stdio::null(),
        };
        let before = rustix::thread::sched_getaffinity(None)?;
        if setup.is_pinned {
            machine::pin(&[cores.proxy])?;
        } else {
            machine::pin(&[cores.proxy, cores.load])?;
        }
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(args.iter().map(OsStr::new))
            .env_remove("SYNAPSE_CONFIG")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .spawn();
        rustix::thread::sched_setaffinity(None, &before)?;
        let child = child.map_err(|e| format!("setpriv {}: {e}", program.display()))?;
        Ok(Self { setup, site, child, log, out })
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

    /// Asks it to stop, and waits until it has.
    #[expect(
        clippy::disallowed_methods,
        reason = "after the load: an end is looked at from outside"
    )]
    pub(crate) fn stop(mut self) -> Outcome<()> {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM)?;
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{}: does not stop", self.log.display()).into())
    }

    /// Lines on its standard output since they were forgotten.
    pub(crate) fn lines(&self) -> Outcome<u64> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.out)?);
        let mut lines = 0;
        loop {
            let part = file.fill_buf()?;
            if part.is_empty() {
                return Ok(lines);
            }
            lines += u64::try_from(part.iter().filter(|byte| **byte == b'\n').count())?;
            let len = part.len();
            file.consume(len);
        }
    }

    /// Empties the file of its standard output.
    pub(crate) fn forget_lines(&self) -> Outcome<()> {
        Ok(File::options().write(true).open(&self.out)?.set_len(0)?)
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
