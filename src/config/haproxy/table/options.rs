//! `option …` of the proxy sections.

use super::{B, Class, DB, DF, DFB, Group, group, not_yet, refused};

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    group(DFB, Class::Supported, &[
        "option forwardfor", "option http-keep-alive", "option http-server-close", "option forceclose",
        "option httpclose", "option abortonclose", "option tcpka",
    ]),
    group(DB, Class::Supported, &[
        "option redispatch", "option httpchk", "option tcp-check", "option allbackups", "option srvtcpka",
    ]),
    group(DFB, Class::Harmless, &[
        "option splice-auto", "option splice-request", "option splice-response", "option http-no-delay",
        "option http-pretend-keepalive", "option http-use-htx", "option idle-close-on-response",
    ]),
    group(DF, Class::Harmless, &["option tcp-smart-accept", "option disable-h2-upgrade"]),
    group(DB, Class::Harmless, &["option tcp-smart-connect", "option prefer-last-server"]),
    group(DF, Class::Supported, &["option http-ignore-probes"]),
    group(DFB, Class::Supported, &["option httplog", "option tcplog"]),
    group(DF, Class::Supported, &["option dontlognull", "option dontlog-normal", "option log-separate-errors"]),
    group(DF, not_yet("lines are written at the end"), &["option logasap"]),
    group(DF, not_yet("there is no TLS to log about; write `option httplog`"), &["option httpslog"]),
    group(DF, not_yet("all lines have one format"), &["option error-log-format"]),
    group(DF, not_yet("/metrics counts at the end of a request and per service"), &[
        "option contstats", "option socket-stats",
    ]),
    group(DB, not_yet("changes of a check's verdict are logged, single checks are not"), &["option log-health-checks"]),
    group(DF, Class::Supported, &["option clitcpka"]),
    group(DFB, not_yet("sockets are closed in the usual way"), &["option nolinger"]),
    group(DFB, not_yet("both directions share one idle timer"), &["option independent-streams"]),
    group(DF, not_yet("invalid requests are answered with 400"), &[
        "option accept-invalid-http-request", "option accept-unsafe-violations-in-http-request",
    ]),
    group(DB, not_yet("invalid responses become 502"), &[
        "option accept-invalid-http-response", "option accept-unsafe-violations-in-http-response",
    ]),
    group(DFB, not_yet("request bodies are streamed"), &["option http-buffer-request"]),
    group(DFB, not_yet("connections stay in keep-alive mode"), &["option http-tunnel"]),
    group(DFB, not_yet("the header is not added"), &["option originalto"]),
    group(DF, not_yet("the standard Connection header is used"), &["option http-use-proxy-header"]),
    group(DFB, not_yet("header names are sent as they came"), &[
        "option h1-case-adjust-bogus-client", "option h1-case-adjust-bogus-server",
    ]),
    group(DB, not_yet("down servers are not used"), &["option persist"]),
    group(DB, not_yet("`option redispatch` alone decides whether another server is tried"), &["option allredisp"]),
    group(DB, not_yet("a tcp connect is checked instead"), &[
        "option mysql-check", "option pgsql-check", "option redis-check", "option smtpchk", "option ldap-check",
        "option ssl-hello-chk", "option spop-check", "option external-check",
    ]),
    group(DB, not_yet("agents are not asked"), &["option lb-agent-chk"]),
    group(DB, refused("cacheable responses with cookies would no longer be blocked", "check this in the application"), &[
        "option checkcache",
    ]),
    group(DFB, refused("forwarding to the address in the request is not offered", "use a forward proxy"), &[
        "option http_proxy",
    ]),
    group(B.or(super::Sections::DEFAULTS), refused(
        "forwarding to the original destination is not offered", "register the destination as a backend",
    ), &["option transparent"]),
];
