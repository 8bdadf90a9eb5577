//! The connect string: `host:port,host:port/chroot`, as every ZooKeeper client writes it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

/// The port of a member that names none; ZooKeeper's own default.
const DEFAULT_PORT: u16 = 2181;

/// The members of an ensemble and the chroot, parsed. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    text: Arc<str>,
    members: Vec<Member>,
    chroot: String,
}

/// One server of the ensemble, as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Host name or address literal, without brackets.
    pub host: Arc<str>,
    /// TCP port, 1..=65535.
    pub port: u16,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is wrong with a connect string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnsembleError {
    /// No member, or a comma too many.
    #[error("connect string {text:?}: a member is empty")]
    EmptyMember {
        /// The whole connect string.
        text: String,
    },
    /// The port is no number in 1..=65535.
    #[error("connect string {text:?}: {port:?} is not a port")]
    Port {
        /// The whole connect string.
        text: String,
        /// What stands in the port's place.
        port: String,
    },
    /// The host is empty, has blanks, or its brackets do not hold an IPv6 address.
    #[error("connect string {text:?}: {host:?} is not a host")]
    Host {
        /// The whole connect string.
        text: String,
        /// What stands in the host's place.
        host: String,
    },
    /// The chroot is no absolute path of non-empty names.
    #[error("connect string {text:?}: {chroot:?} is not a path")]
    Chroot {
        /// The whole connect string.
        text: String,
        /// What stands in the path's place.
        chroot: String,
    },
    /// `tcp+tls://`: TLS to ZooKeeper is not supported.
    #[error("connect string {text:?}: TLS to ZooKeeper is not supported")]
    Tls {
        /// The whole connect string.
        text: String,
    },
}

impl Ensemble {
    /// The members, in the order written; at least one.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// `""`, or an absolute path without a trailing slash that all paths are relative to.
    pub fn chroot(&self) -> &str {
        &self.chroot
    }

    /// The connect string as written, for messages.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
}

impl FromStr for Ensemble {
    type Err = EnsembleError;

    /// Blanks around members are accepted (lists in YAML files have them), `tcp://` too.
    fn from_str(text: &str) -> Result<Self, EnsembleError> {
        let (hosts, chroot) = split_chroot(text)?;
        let members = hosts
            .split(',')
            .map(|member| parse_member(text, member.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: text.into(), members, chroot })
    }
}

/// The hosts and the chroot. The first slash that belongs to no `://` starts the chroot.
fn split_chroot(text: &str) -> Result<(String, String), EnsembleError> {
    if text.contains("tcp+tls://") {
        return Err(EnsembleError::Tls { text: text.into() });
    }
    let plain = text.replace("tcp://", "");
    let Some((hosts, rest)) = plain.split_once('/') else {
        return Ok((plain, String::new()));
    };
    let path = rest.trim_end();
    if path.is_empty() {
        return Ok((hosts.into(), String::new()));
    }
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains([',', '\0']);
    if path.split('/').all(is_name) {
        Ok((hosts.into(), format!("/{path}")))
    } else {
        Err(EnsembleError::Chroot { text: text.into(), chroot: format!("/{path}") })
    }
}

fn parse_member(text: &str, member: &str) -> Result<Member, EnsembleError> {
    if member.is_empty() {
        return Err(EnsembleError::EmptyMember { text: text.into() });
    }
    let bad_host = |host: &str| EnsembleError::Host { text: text.into(), host: host.into() };
    let (host, port) = match member.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or_else(|| bad_host(member))?;
            host.parse::<Ipv6Addr>().map_err(|_| bad_host(host))?;
            match tail.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if tail.is_empty() => (host, None),
                None => return Err(bad_host(member)),
            }
        }
        None => match member.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (member, None),
        },
    };
    let is_bracketed = member.starts_with('[');
    if host.is_empty()
        || host.contains(char::is_whitespace)
        || (host.contains(':') && !is_bracketed)
    {
        return Err(bad_host(host));
    }
    Ok(Member {
        host: host.into(),
        port: port.map_or(Ok(DEFAULT_PORT), |port| parse_port(text, port))?,
    })
}

fn parse_port(text: &str, port: &str) -> Result<u16, EnsembleError> {
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(EnsembleError::Port { text: text.into(), port: port.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        let ensemble: Ensemble = text.parse().unwrap();
        ensemble.members().iter().map(Member::to_string).collect()
    }

    #[test]
    fn hosts_ports_and_chroot_are_split() {
        assert_eq!(names("zk1:2181,zk2:2182/a/b"), ["zk1:2181", "zk2:2182"]);
        assert_eq!("zk1,zk2/a/b".parse::<Ensemble>().unwrap().chroot(), "/a/b");
        assert_eq!("zk1/".parse::<Ensemble>().unwrap().chroot(), "");
    }

    #[test]
    fn port_defaults_to_2181_and_blanks_are_trimmed() {
        assert_eq!(names(" zk1 , tcp://10.0.0.1 "), ["zk1:2181", "10.0.0.1:2181"]);
    }

    #[test]
    fn ipv6_needs_brackets() {
        assert_eq!(names("[::1]:2182,[fe80::1]"), ["[::1]:2182", "[fe80::1]:2181"]);
        assert!(matches!("::1:2181".parse::<Ensemble>(), Err(EnsembleError::Host { .. })));
        assert!(matches!("[zk1]:1".parse::<Ensemble>(), Err(EnsembleError::Host { .. })));
    }

    #[test]
    fn each_mistake_has_its_own_text() {
        let text = |bad: &str| bad.parse::<Ensemble>().unwrap_err().to_string();
        assert_eq!(text(""), "connect string \"\": a member is empty");
        assert_eq!(text("a,,b"), "connect string \"a,,b\": a member is empty");
        assert_eq!(text("a:0"), "connect string \"a:0\": \"0\" is not a port");
        assert_eq!(text("a:x"), "connect string \"a:x\": \"x\" is not a port");
        assert_eq!(text("a/b//c"), "connect string \"a/b//c\": \"/b//c\" is not a path");
        assert!(text("tcp+tls://a").contains("TLS to ZooKeeper is not supported"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,60}") {
            if let Ok(ensemble) = text.parse::<Ensemble>() {
                prop_assert!(!ensemble.members().is_empty());
            }
        }
    }
}
