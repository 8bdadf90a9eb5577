//! Directives of the proxy sections that are neither `option`s nor rules.

use super::{B, Class, DB, DF, DFB, F, FB, G, Group, group, not_yet, refused};

const STICKY: Class = refused(
    "requests of one client would no longer reach the same backend",
    "keep sessions in a shared store, or balance by source, uri, hdr or url_param",
);
const STATS: Class = not_yet("the statistics page is not served; use the admin listener");
const ROUTING: Class = refused(
    "requests would reach another backend than they do with haproxy",
    "give each backend a service with a port of its own",
);

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    group(DFB, Class::Supported, &["mode", "timeout http-request", "timeout http-keep-alive", "timeout tarpit"]),
    group(DF, Class::Supported, &["maxconn", "backlog", "timeout client", "clitimeout", "timeout clitimeout", "timeout client-fin"]),
    group(DB, Class::Supported, &[
        "balance", "balance roundrobin", "balance leastconn", "balance static-rr", "balance first", "balance random",
        "balance source", "balance uri", "balance url_param", "balance hdr", "hash-type", "hash-balance-factor", "retries", "redispatch", "redisp", "default-server",
        "timeout connect", "timeout server", "timeout check", "timeout tunnel", "contimeout", "timeout contimeout",
        "srvtimeout", "timeout srvtimeout", "timeout server-fin", "http-reuse", "timeout queue",
        "fullconn", "source", "srvtcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl",
    ]),
    group(F, Class::Supported, &["bind"]),
    group(DB, STICKY, &[
        "balance rdp-cookie", "balance hash",
        "cookie", "appsession", "persist rdp-cookie", "stick on", "stick match", "stick store-request",
        "stick store-response", "stick",
    ]),
    group(DFB, Class::Harmless, &["bind-process", "description", "id", "enabled", "ignore-persist", "force-persist", "guid"]),
    group(DB, Class::Harmless, &[
        "hash-preserve-affinity", "max-keep-alive-queue", "load-server-state-from-file", "server-state-file-name",
        "max-session-srv-conns",
    ]),
    group(DFB, refused("the service would be served although it is disabled here", "set `haproxy.disabled: true`"), &["disabled"]),
    group(DFB, not_yet("the process's own shutdown deadline applies"), &["grace"]),
    group(DFB, Class::Supported, &["log", "log-tag"]),
    group(F, Class::Supported, &["capture request header", "capture response header"]),
    group(DFB, not_yet("`option httplog`, `option tcplog` or the native `format: json` gives lines their form"), &[
        "log-format", "log-format-sd", "error-log-format", "log-steps",
    ]),
    group(DF, not_yet("request ids are not made"), &["unique-id-format", "unique-id-header"]),
    group(DFB, not_yet("headers alone are captured"), &["capture", "declare capture"]),
    group(DFB, not_yet("no mail is sent"), &[
        "email-alert from", "email-alert level", "email-alert mailers", "email-alert myhostname", "email-alert to",
    ]),
    group(DFB, not_yet("the built-in error pages are sent"), &[
        "errorfile", "errorfiles", "errorloc", "errorloc302", "errorloc303", "http-error",
    ]),
    group(DFB, not_yet("responses are not compressed"), &["compression"]),
    group(DFB, not_yet("the filter is not run"), &["filter"]),
    group(DF, not_yet("there is no TLS handshake to be limited"), &["timeout client-hs"]),
    group(DB, not_yet("only failed connects and requests without effect are tried again"), &["retry-on"]),
    group(DB, not_yet("the header is not sent"), &["http-send-name-header"]),
    group(DB, not_yet("the check passes with any 2xx or 3xx"), &[
        "http-check expect", "http-check disable-on-404",
    ]),
    group(DB, not_yet("the check sends no X-Haproxy-Server-State header"), &["http-check send-state"]),
    group(DB, not_yet("the check sends what `option httpchk` says"), &[
        "http-check send", "http-check connect", "http-check comment", "http-check set-var", "http-check unset-var",
        "http-check",
    ]),
    group(DB, not_yet("a successful connect passes the check"), &[
        "tcp-check connect", "tcp-check expect", "tcp-check send", "tcp-check send-binary", "tcp-check comment",
        "tcp-check send-lf", "tcp-check send-binary-lf", "tcp-check set-var", "tcp-check unset-var", "tcp-check",
    ]),
    group(DB, not_yet("a tcp connect is checked instead"), &["external-check command", "external-check path"]),
    group(DF, Class::Supported, &["clitcpka-cnt", "clitcpka-idle", "clitcpka-intvl"]),
    group(DF, not_yet("connections are not rate limited"), &["rate-limit sessions"]),
    group(FB, not_yet("nothing is counted in stick tables"), &["stick-table"]),
    group(DFB, STATS, &[
        "stats admin", "stats auth", "stats enable", "stats hide-version", "stats http-request", "stats realm",
        "stats refresh", "stats scope", "stats show-desc", "stats show-legends", "stats show-modules",
        "stats show-node", "stats uri",
    ]),
    group(DF, refused(
        "probes of it would reach the backends", "point them at /live or /ready of the admin listener",
    ), &["monitor-uri", "monitor-net", "monitor fail", "monitor"]),
    group(F, ROUTING, &["use_backend"]),
    // Synapse ends each frontend with its own, and the last one counts.
    group(DF, Class::Harmless, &["default_backend"]),
    group(B, ROUTING, &["use-server", "dispatch", "transparent"]),
    group(B, refused("static servers in `backend` are not used", "put them into `default_servers` of the service"), &[
        "server", "server-template",
    ]),
    group(G, refused("this belongs to `defaults`", "move it there"), &["mode", "balance", "retries", "timeout"]),
    group(DFB, refused("fastcgi is not offered", "register an http server"), &["use-fcgi-app"]),
];
