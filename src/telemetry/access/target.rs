//! Where lines go: plain values that the configuration makes and the writer opens.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One `log` line, or the native `access_log.to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub place: Place,
    /// What stands before the line.
    pub framing: Framing,
    /// Bytes of a message at most, its head included; the rest is cut. Default 1024, as haproxy's `len`.
    pub max_len: usize,
    /// Of the syslog priority. Default `local0`.
    pub facility: Facility,
    /// Messages less severe are not sent. Default `debug`: all are.
    pub max_level: Level,
    /// More severe messages are sent as if they had this level. Default `emerg`: as they are.
    pub min_level: Level,
    /// Who writes.
    pub tag: Tag,
}

/// `len` of a `log` line that gives none: haproxy's `MAX_SYSLOG_LEN`, what RFC 3164 promises to carry.
pub const MAX_LEN: usize = 1024;

/// Longest bare line: those to files and standard output need no bound but that of the batches.
pub const MAX_RAW_LEN: usize = 65_535;

impl Target {
    /// Bare lines, all of them, whole.
    pub fn raw(place: Place) -> Self {
        Self {
            place,
            framing: Framing::Raw,
            max_len: MAX_RAW_LEN,
            facility: Facility::LOCAL0,
            max_level: Level::DEBUG,
            min_level: Level::EMERG,
            tag: Tag { program: Tag::PROGRAM.into(), host: None },
        }
    }
}

/// Where messages of a target go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to.
    File(PathBuf),
    /// A syslog server: `HOST:PORT`.
    Udp(Arc<str>),
    /// A unix datagram socket such as `/dev/log`.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
            Self::Udp(addr) => write!(f, "udp://{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What stands before a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `raw`: nothing.
    Raw,
    /// `short`: `<L>`, the level alone, as systemd takes it from standard output.
    Short,
    /// `rfc3164`: `<PRI>Mmm dd hh:mm:ss [host ]tag[pid]: `. haproxy's default.
    Rfc3164,
    /// `local`: as `rfc3164` without host.
    Local,
    /// `rfc5424`: `<PRI>1 2009-02-06T12:14:14.655000+01:00 host tag pid - - `.
    Rfc5424,
    /// `priority`: `<PRI>`.
    Priority,
    /// `iso`: the time as in RFC 5424.
    Iso,
    /// `timed`: `<L>` and that time.
    Timed,
}

/// `log-tag` and `log-send-hostname`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Name of the program. Default `synapse`.
    pub program: Arc<str>,
    /// Name of the host in RFC 3164 heads; `None`: none is sent.
    pub host: Option<Arc<str>>,
}

/// Syslog facility, 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facility(pub u8);

/// Syslog level: 0 (`emerg`) to 7 (`debug`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level(pub u8);

impl Facility {
    /// For local use.
    pub const LOCAL0: Self = Self(16);
}

impl Tag {
    /// haproxy sends its own name here.
    pub const PROGRAM: &str = "synapse";
}

impl Level {
    /// The most severe.
    pub const EMERG: Self = Self(0);
    /// Of a server that went down.
    pub const ALERT: Self = Self(1);
    /// Of a server that came up.
    pub const NOTICE: Self = Self(5);
    /// The least severe.
    pub const DEBUG: Self = Self(7);
    /// Of what went wrong, with `option log-separate-errors`.
    pub const ERR: Self = Self(3);
    /// Of all lines otherwise.
    pub const INFO: Self = Self(6);
}

/// Targets that get the same lines. Shared by all services that say the same, so that their lines travel together.
#[derive(Debug, PartialEq, Eq)]
pub struct Targets(Box<[Target]>);

impl Targets {
    /// The one list that is equal to `targets`.
    pub fn shared(targets: Vec<Target>) -> Arc<Self> {
        static KNOWN: Mutex<Vec<Weak<Targets>>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|weak| weak.strong_count() > 0);
        let wanted = Self(targets.into());
        let found = known.iter().filter_map(Weak::upgrade).find(|it| **it == wanted);
        found.unwrap_or_else(|| {
            let new = Arc::new(wanted);
            known.push(Arc::downgrade(&new));
            new
        })
    }

    /// The targets in the order of the configuration.
    pub fn list(&self) -> &[Target] {
        &self.0
    }

    /// True when some target takes messages of `level`.
    pub fn take(&self, level: Level) -> bool {
        self.0.iter().any(|target| level <= target.max_level)
    }
}
