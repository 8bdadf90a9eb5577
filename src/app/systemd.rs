//! systemd's side of a service: its notifications, its watchdog, its sockets. Without systemd all of it does nothing.
//!
//! Sockets come as bare numbers. Turning a number into a descriptor we own would be unsafe code, because nothing proves
//! that nobody else owns it; the kernel's `pidfd_getfd` on our own process gives a duplicate that is certainly ours. The
//! number itself stays open, which changes nothing: systemd holds the socket anyway.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, io};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

use super::handover::take::adopt;
use crate::proxy::listener::Listening;

/// First descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST_DESCRIPTOR: i32 = 3;

/// More than that is no socket unit but a mistake.
const MAX_DESCRIPTORS: i32 = 10_000;

/// Where notifications go.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(crate) fn from_env() -> Self {
        let pid = env::var("WATCHDOG_PID").ok();
        let is_meant = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = env::var("WATCHDOG_USEC").ok().filter(|_| is_meant);
        Self::new(env::var_os("NOTIFY_SOCKET"), watchdog.and_then(|usec| usec.parse().ok()))
    }

    fn new(path: Option<OsString>, watchdog_usec: Option<u64>) -> Self {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let addr = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&path),
        };
        match addr.and_then(|addr| Ok((UnixDatagram::unbound()?, addr))) {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog: watchdog_usec.filter(|usec| *usec > 0).map(Duration::from_micros),
            },
            Err(error) => {
                tracing::warn!(%error, ?path, "NOTIFY_SOCKET cannot be used");
                Self::default()
            }
        }
    }

    /// Serving. Makes this process the main one: after a hand-over it is another than systemd has started.
    pub(crate) fn ready(&self) {
        self.send(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    /// Reading the configuration again; [`Notifier::ready`] ends it.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// Stopping, not for the benefit of a successor.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Shows that this thread lives, at half of the watchdog's time, for ever. Without a watchdog it just waits.
    pub(crate) async fn keep_alive(&self) {
        let Some(watchdog) = self.watchdog else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(watchdog / 2);
        loop {
            ticks.tick().await;
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, text: &str) {
        if let Some((socket, addr)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), addr)
        {
            tracing::warn!(%error, text, "systemd was not told");
        }
    }
}

/// The listening TCP and unix sockets of a socket unit (`LISTEN_FDS`); others are skipped with a warning.
pub(crate) fn sockets() -> Vec<Listening> {
    let is_meant = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let count = env::var("LISTEN_FDS").ok().filter(|_| is_meant);
    let count = count.and_then(|count| count.parse::<i32>().ok()).unwrap_or(0);
    (FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + count.clamp(0, MAX_DESCRIPTORS))
        .filter_map(|number| match own(number).and_then(|socket| adopt(socket, None, true)) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(number, %error, "LISTEN_FDS: a descriptor cannot be used");
                None
            }
        })
        .collect()
}

fn own(number: i32) -> io::Result<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this.as_fd(), number, PidfdGetfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd as _;
    use std::process::Command;

    fn receive(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[tokio::test]
    async fn systemd_hears_every_step() {
        let path = env::temp_dir().join(format!("notify-{}", std::process::id()));
        let abstract_name = format!("notify-{}", std::process::id());
        let named = UnixDatagram::bind(&path).unwrap();
        let addr = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let hidden = UnixDatagram::bind_addr(&addr).unwrap();
        let hidden_path = OsString::from(format!("@{abstract_name}"));
        for (socket, path) in [(named, path.clone().into_os_string()), (hidden, hidden_path)] {
            let notifier = Notifier::new(Some(path), Some(20_000));
            notifier.ready();
            let pid = std::process::id();
            assert_eq!(receive(&socket), format!("READY=1\nMAINPID={pid}"));
            notifier.reloading();
            let text = receive(&socket);
            let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(usec.parse::<u64>().unwrap() > 0);
            notifier.stopping();
            assert_eq!(receive(&socket), "STOPPING=1");
            let alive = tokio::time::timeout(Duration::from_millis(35), notifier.keep_alive());
            assert!(alive.await.is_err(), "for ever");
            assert_eq!(receive(&socket), "WATCHDOG=1");
            assert_eq!(receive(&socket), "WATCHDOG=1");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_systemd_nothing_happens() {
        let notifier = Notifier::new(None, Some(1));
        notifier.ready();
        assert!(notifier.socket.is_none() && notifier.watchdog.is_none());
    }

    #[test]
    fn a_number_becomes_a_descriptor_of_our_own() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let adopted = |number| own(number).and_then(|socket| adopt(socket, None, true));
        let copy = adopted(socket.as_raw_fd()).unwrap();
        drop(socket);
        assert_eq!(copy.addr, addr.into());
        assert!(adopted(i32::MAX).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(adopted(file.as_raw_fd()).is_err(), "not a socket");
    }

    /// What the child of the next test runs.
    #[test]
    fn listen_fds_of_this_process() {
        let addrs: Vec<_> = sockets().into_iter().map(|socket| socket.addr).collect();
        let wanted = env::var("WANTED_ADDR").ok();
        assert_eq!(addrs.iter().map(ToString::to_string).next(), wanted);
    }

    #[test]
    fn a_child_finds_the_sockets_of_its_unit() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap().to_string();
        // As descriptor 3, with its own pid: a shell does both. From 0, as a shell need not know numbers of two digits.
        let script = format!(
            "exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" --exact {}::listen_fds_of_this_process",
            module_path!().split_once("::").unwrap().1
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(env::current_exe().unwrap())
            .env("WANTED_ADDR", addr)
            .stdin(OwnedFd::from(socket))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
