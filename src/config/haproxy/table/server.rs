//! Words of a `server` or `default-server` line, `server_options` and a registration's own options.

use super::super::source;
use super::{Class, Group, S, not_yet, refused, words};

const TLS: Class = refused(
    "TLS is not offered: no C-free implementation is stable yet",
    "register a plain port, or a TLS sidecar on the backend's host",
);
const TLVS: Class = refused(
    "the backend expects additions to the PROXY header, which are not sent yet",
    "`send-proxy-v2` without them",
);
const OBSERVE: Class =
    not_yet("only refused and failed connections count as evidence, beside the checks");
const AGENT: Class = not_yet("agents are not asked");
const NAMES: Class = not_yet("names are resolved at start and refreshed");

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    words(S, 0, Class::Supported, &[
        "check", "no-check", "backup", "no-backup", "disabled", "enabled", "no-disabled",
        "send-proxy", "no-send-proxy", "send-proxy-v2", "no-send-proxy-v2", "send-proxy-v2-ssl", "no-send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn", "no-send-proxy-v2-ssl-cn", "check-send-proxy", "no-check-send-proxy",
    ]),
    words(S, 1, Class::Supported, &[
        "inter", "fastinter", "downinter", "rise", "fall", "port", "addr", "weight", "maxconn", "id", "cookie",
        "minconn", "maxqueue", "slowstart", "proto", "on-marked-down", "source", "interface", "tcp-ut",
    ]),
    words(S, 0, Class::Harmless, &[
        "non-stick", "stick", "no-ssl", "no-check-ssl", "no-tfo", "tfo",
        "no-verifyhost", "no-agent-check", "check-via-socks4",
        // Without `ssl`, which is refused, these mean nothing.
        "force-sslv3", "force-tlsv10", "force-tlsv11", "force-tlsv12", "force-tlsv13", "no-sslv3", "no-tlsv10",
        "no-tlsv11", "no-tlsv12", "no-tlsv13", "no-tls-tickets", "tls-tickets", "ssl-reuse", "no-ssl-reuse",
        "allow-0rtt",
    ]),
    words(S, 1, Class::Harmless, &[
        "verify", "verifyhost", "ca-file", "crt", "crl-file", "ciphers", "ciphersuites", "curves", "sni", "alpn",
        "npn", "check-alpn", "check-sni", "ssl-min-ver", "ssl-max-ver", "sigalgs", "client-sigalgs", "hash-key",
        "guid", "shard", "log-proto", "log-bufsize",
    ]),
    words(S, 1, OBSERVE, &["observe", "on-error", "error-limit"]),
    words(S, 1, not_yet("connections to backups end by themselves"), &["on-marked-up"]),
    words(S, 1, not_yet("the server is checked by itself only if `check` is given"), &["track"]),
    words(S, 0, AGENT, &["agent-check"]),
    words(S, 1, AGENT, &["agent-port", "agent-inter", "agent-send", "agent-addr"]),
    words(S, 1, NAMES, &["init-addr", "resolvers", "resolve-prefer", "resolve-opts", "resolve-net"]),
    words(S, 1, not_yet("the kernel's settings apply"), &["tcp-md5sig", "mptcp"]),
    words(S, 1, not_yet("the built-in idle pool applies"), &[
        "pool-max-conn", "pool-purge-delay", "pool-low-conn", "max-reuse", "idle-ping", "pool-conn-name",
    ]),
    words(S, 1, refused(source::USESRC.0, source::USESRC.1), &["usesrc"]),
    words(S, 1, not_yet("the verdict starts up, and the first failed check takes it down"), &["init-state"]),
    words(S, 1, not_yet("checks use the http or tcp of the traffic"), &["check-proto"]),
    words(S, 0, TLS, &["ssl", "check-ssl"]),
    words(S, 1, TLVS, &["proxy-v2-options", "set-proxy-v2-tlv-fmt"]),
    words(S, 1, refused("requests would be sent to the backend instead of being redirected", "redirect in the application"), &["redir"]),
    words(S, 1, refused("the backend can only be reached through it", "register a reachable address"), &["socks4", "namespace"]),
    words(S, 1, refused("websockets are spoken with http/1 only", "remove it"), &["ws"]),
];
