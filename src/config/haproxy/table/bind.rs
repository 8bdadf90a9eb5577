//! Words of a `bind` line after the address, and of `bind_options`.

use super::{Class, Group, L, not_yet, refused, words};

const TLS: Class = refused(
    "TLS is not offered: no C-free implementation is stable yet",
    "bind without it, or put a TLS terminator in front",
);

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    words(L, 1, Class::Supported, &["backlog", "proto", "maxconn", "interface", "tcp-ut", "mss"]),
    words(L, 1, Class::Supported, &["mode", "user", "group", "uid", "gid"]),
    words(L, 0, Class::Supported, &["v6only", "v4v6", "accept-proxy"]),
    words(L, 0, Class::Harmless, &[
        "defer-accept", "tfo", "prefer-client-ciphers", "no-sslv3", "no-tlsv10", "no-tlsv11", "no-tlsv12",
        "no-tlsv13", "force-sslv3", "force-tlsv10", "force-tlsv11", "force-tlsv12", "force-tlsv13",
        "no-tls-tickets", "no-ca-names", "generate-certificates", "strict-sni", "allow-0rtt",
    ]),
    words(L, 1, Class::Harmless, &[
        "name", "id", "nice", "process", "thread", "shards", "guid-prefix", "expose-fd", "level", "severity-output", "ciphers",
        "ciphersuites", "curves", "ecdhe", "alpn", "npn", "ca-file", "ca-sign-file", "ca-sign-pass",
        "ca-verify-file", "crl-file", "ca-ignore-err", "crt-ignore-err", "verify", "ssl-min-ver", "ssl-max-ver",
        "tls-ticket-keys", "sigalgs", "client-sigalgs",
    ]),
    words(L, 1, not_yet("the kernel's settings apply"), &["tcp-ss", "cc"]),
    words(L, 0, not_yet("only own addresses can be bound"), &["transparent"]),
    words(L, 1, refused("it would be reachable from other networks", "bind an address of that interface"), &["namespace"]),
    words(L, 1, refused("its header is not accepted yet", "remove it, and send plain connections to this address"), &[
        "accept-netscaler-cip",
    ]),
    words(L, 0, TLS, &["ssl"]),
    words(L, 1, TLS, &["crt", "crt-list"]),
];
