//! Who may command, and what nobody may ask from another site.
//!
//! A browser is the only program on a host that runs strangers' code and lets it connect to loopback: it adds `Origin` to
//! whatever it sends across sites, and a name that was made to point here (DNS rebinding) shows in `Host`.

use std::net::IpAddr;

use hyper::header::{HOST, ORIGIN};

use crate::admin::site::{Asked, Peer};

/// The rules of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// `admin.push`: commands are taken over TCP.
    push: bool,
    /// Whom we run as.
    uid: u32,
}

/// Why a command is not taken; 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forbidden {
    #[error("requests with an Origin header come from a browser and are refused")]
    Browser,
    #[error(
        "only root and uid {ours}, which nerve runs as, may do this (you are {peer}); try sudo"
    )]
    Stranger { peer: Peer, ours: u32 },
    #[error(
        "commands are not taken on this address; use the unix socket in state_dir (`nerve down` does), or set `admin: {{push: true}}`"
    )]
    PushIsOff,
    #[error("commands are taken from this host only, not from {peer}")]
    Remote { peer: Peer },
    #[error("the Host header {host:?} is no loopback address and not localhost")]
    OtherHost { host: String },
}

impl Access {
    pub(super) fn new(push: bool) -> Self {
        Self { push, uid: rustix::process::geteuid().as_raw() }
    }

    /// Whether what is asked may be done.
    pub(super) fn allows(&self, asked: &Asked) -> Result<(), Forbidden> {
        not_across_sites(asked)?;
        match asked.peer {
            Peer::Unix { uid: Some(uid) } if uid == 0 || uid == self.uid => Ok(()),
            peer @ Peer::Unix { .. } => Err(Forbidden::Stranger { peer, ours: self.uid }),
            Peer::Tcp(_) if !self.push => Err(Forbidden::PushIsOff),
            peer @ Peer::Tcp(addr) if !addr.ip().to_canonical().is_loopback() => {
                Err(Forbidden::Remote { peer })
            }
            Peer::Tcp(_) => {
                let host = host(asked);
                if is_loopback(&host) { Ok(()) } else { Err(Forbidden::OtherHost { host }) }
            }
        }
    }
}

/// Whether pages may be read. `is_local`: the admin listener is on loopback, where only this host's names are heard; a
/// `Host` that is missing does not come from a browser.
pub(super) fn may_read(asked: &Asked, is_local: bool) -> Result<(), Forbidden> {
    not_across_sites(asked)?;
    let host = host(asked);
    match asked.peer {
        Peer::Tcp(_) if is_local && !host.is_empty() && !is_loopback(&host) => {
            Err(Forbidden::OtherHost { host })
        }
        Peer::Tcp(_) | Peer::Unix { .. } => Ok(()),
    }
}

/// For everything, pages included: a page of ours sends no `Origin` when it reads.
fn not_across_sites(asked: &Asked) -> Result<(), Forbidden> {
    if asked.head.headers.contains_key(ORIGIN) { Err(Forbidden::Browser) } else { Ok(()) }
}

/// Whom the client meant to ask; an absolute URI wins over the header (RFC 9112, 3.2.2). Empty when it does not say.
fn host(asked: &Asked) -> String {
    let from_uri = asked.head.uri.authority().map(|authority| authority.as_str());
    from_uri.or_else(|| asked.header(HOST)).unwrap_or_default().to_owned()
}

/// `localhost`, `127.0.0.0/8` or `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bare.unwrap_or(name).parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) if bare.is_none() => false,
        Ok(addr) => addr.is_loopback(),
        Err(_) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::Request;

    use super::*;

    fn asked(peer: Peer, headers: &[(&str, &str)]) -> Asked {
        let mut request = Request::post("/v1/services/a/down");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Asked { head, body: Bytes::new(), peer }
    }

    const LOCAL: [(&str, &str); 1] = [("host", "localhost:3211")];

    fn tcp(addr: &str) -> Peer {
        Peer::Tcp(addr.parse().unwrap())
    }

    #[test]
    fn hosts_are_loopback_or_not() {
        for host in
            ["localhost", "LOCALHOST:3211", "127.0.0.1:1", "127.9.9.9", "[::1]:3211", "localhost."]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "evil.example:3211", "127.0.0.1.evil.example", "10.0.0.1", "::1", "[::2]", "[::1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn the_unix_socket_is_for_root_and_ourselves() {
        let access = Access { push: false, uid: 7 };
        for uid in [0, 7] {
            assert_eq!(access.allows(&asked(Peer::Unix { uid: Some(uid) }, &[])), Ok(()));
        }
        for uid in [Some(8), None] {
            let refused = access.allows(&asked(Peer::Unix { uid }, &[])).unwrap_err();
            assert!(matches!(refused, Forbidden::Stranger { .. }), "{refused}");
        }
    }

    #[test]
    fn tcp_needs_the_switch_a_loopback_peer_and_a_loopback_host() {
        let on = Access { push: true, uid: 7 };
        assert_eq!(on.allows(&asked(tcp("127.0.0.1:9"), &LOCAL)), Ok(()));
        assert_eq!(on.allows(&asked(tcp("[::ffff:127.0.0.1]:9"), &LOCAL)), Ok(()));
        let off = Access { push: false, uid: 7 };
        assert_eq!(off.allows(&asked(tcp("127.0.0.1:9"), &LOCAL)), Err(Forbidden::PushIsOff));
        let remote = on.allows(&asked(tcp("10.0.0.9:9"), &LOCAL)).unwrap_err();
        assert_eq!(
            remote.to_string(),
            "commands are taken from this host only, not from 10.0.0.9:9"
        );
        for headers in [&[("host", "evil.example")][..], &[]] {
            let refused = on.allows(&asked(tcp("127.0.0.1:9"), headers)).unwrap_err();
            assert!(matches!(refused, Forbidden::OtherHost { .. }), "{refused}");
        }
    }

    #[test]
    fn on_loopback_pages_are_read_under_loopback_names_only() {
        let rebound = asked(tcp("127.0.0.1:9"), &[("host", "evil.example:3211")]);
        let refused = may_read(&rebound, true).unwrap_err();
        assert!(matches!(refused, Forbidden::OtherHost { .. }), "{refused}");
        assert_eq!(may_read(&rebound, false), Ok(()));
        let by_ip = asked(tcp("10.0.0.9:9"), &[("host", "10.0.0.1:3211")]);
        assert_eq!(may_read(&by_ip, false), Ok(()));
        for headers in [&LOCAL[..], &[]] {
            assert_eq!(may_read(&asked(tcp("127.0.0.1:9"), headers), true), Ok(()));
        }
        let over_socket = asked(Peer::Unix { uid: None }, &[("host", "nerve")]);
        assert_eq!(may_read(&over_socket, true), Ok(()));
        let browser = asked(tcp("10.0.0.9:9"), &[("origin", "http://10.0.0.1")]);
        assert_eq!(may_read(&browser, false), Err(Forbidden::Browser));
    }

    #[test]
    fn an_origin_is_refused_from_everybody() {
        let on = Access { push: true, uid: 7 };
        let headers = [("host", "localhost"), ("origin", "http://localhost:3211")];
        for peer in [Peer::Unix { uid: Some(0) }, tcp("127.0.0.1:9")] {
            assert_eq!(on.allows(&asked(peer, &headers)), Err(Forbidden::Browser));
        }
    }
}
