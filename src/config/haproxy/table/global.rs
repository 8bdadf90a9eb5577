//! `global`.

use super::{Class, G, Group, group, not_yet, refused};

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    group(G, Class::Supported, &["maxconn", "spread-checks", "user", "group", "hard-stop-after", "log", "log-send-hostname", "log-tag", "nosplice", "maxpipes"]),
    group(G, Class::Supported, &[
        "tune.h2.header-table-size", "tune.h2.initial-window-size", "tune.h2.max-concurrent-streams", "tune.h2.max-frame-size",
    ]),
    group(G, Class::Harmless, &[
        "daemon", "master-worker", "mworker-max-reloads", "nbproc", "nbthread", "thread-groups", "cpu-map", "cpu-policy",
        "pidfile", "ulimit-n", "node", "description", "localpeer", "server-state-base", "server-state-file", "quiet",
        "zero-warning", "noepoll", "nokqueue", "noevports", "nopoll", "nogetaddrinfo", "noreuseport",
        "busy-polling", "max-spread-checks", "strict-limits", "set-dumpable", "ca-base", "crt-base", "key-base",
        "issuers-chain-path", "ssl-default-bind-ciphers", "ssl-default-bind-ciphersuites",
        "ssl-default-bind-options", "ssl-default-bind-curves", "ssl-default-server-ciphers",
        "ssl-default-server-ciphersuites", "ssl-default-server-options", "ssl-dh-param-file", "ssl-server-verify",
        "ssl-engine", "ssl-mode-async", "ssl-load-extra-files", "ssl-load-extra-del-ext", "ssl-skip-self-issued-ca",
        "maxsslconn", "maxsslrate", "maxzlibmem", "maxcompcpuusage", "profiling.tasks",
        "profiling.memory", "debug", "wurfl-data-file", "51degrees-data-file", "deviceatlas-json-file",
        "h1-case-adjust", "h1-case-adjust-file", "insecure-fork-wanted", "insecure-setuid-wanted", "prealloc-fd",
        "expose-experimental-directives", "expose-deprecated-directives", "no-memory-trimming", "numa-cpu-mapping",
        "default-path", "cluster-secret", "resetenv", "unsetenv", "tune.comp.maxlevel", "tune.fail-alloc",
        "tune.fd.edge-triggered", "tune.chksize", "tune.lua.forced-yield",
        "tune.lua.maxmem", "tune.lua.session-timeout", "tune.lua.task-timeout", "tune.lua.service-timeout",
        "tune.maxaccept", "tune.maxpollevents", "tune.pipesize", "tune.pool-high-fd-ratio", "tune.pool-low-fd-ratio",
        "tune.recv_enough", "tune.runqueue-depth", "tune.sched.low-latency", "tune.ssl.cachesize",
        "tune.ssl.default-dh-param", "tune.ssl.force-private-cache", "tune.ssl.keylog", "tune.ssl.lifetime",
        "tune.ssl.maxrecord", "tune.ssl.ssl-ctx-cache-size", "tune.ssl.capture-cipherlist-size",
        "tune.ssl.capture-buffer-size", "tune.stick-counters", "tune.vars.global-max-size",
        "tune.vars.proc-max-size", "tune.vars.reqres-max-size", "tune.vars.sess-max-size", "tune.vars.txn-max-size",
        "tune.zlib.memlevel", "tune.zlib.windowsize", "tune.buffers.limit", "tune.buffers.reserve",
        "tune.idletimer", "tune.listener.multi-queue", "tune.pattern.cache-size", "tune.peers.max-updates-at-once",
        "tune.quic.socket-owner", "tune.memory.hot-size", "tune.http.cookielen", "tune.http.logurilen",
        "tune.ssl.hard-maxrecord", "tune.vars.check-max-size", "thread-group", "httpclient.resolvers.id",
        "httpclient.resolvers.prefer", "httpclient.ssl.ca-file", "httpclient.ssl.verify", "pp2-never-send-local",
        "ssl-propquery", "ssl-provider", "ssl-provider-path", "h1-accept-payload-with-any-method",
    ]),
    group(G, not_yet("there is no haproxy admin socket; use the admin listener"), &[
        "stats socket", "stats timeout", "stats maxconn", "stats bind-process",
    ]),
    group(G, Class::Supported, &["unix-bind"]),
    group(G, not_yet("privileges are dropped to `user` and `group` only"), &["uid", "gid", "chroot", "setcap"]),
    group(G, not_yet("variables in haproxy lines are not expanded"), &["setenv", "presetenv", "set-var", "set-var-fmt"]),
    group(G, not_yet("lua is not run"), &["lua-load", "lua-load-per-thread", "lua-prepend-path"]),
    group(G, not_yet("the built-in limits apply: 15360 B and 101 headers per head"), &[
        "tune.bufsize", "tune.maxrewrite", "tune.http.maxhdr",
    ]),
    group(G, not_yet("connections are not rate limited"), &["maxconnrate", "maxsessrate"]),
    group(G, not_yet("a stop is bounded by `hard-stop-after` alone"), &["grace", "close-spread-time"]),
    group(G, not_yet("the kernel's buffer sizes apply"), &[
        "tune.rcvbuf.client", "tune.rcvbuf.server", "tune.sndbuf.client", "tune.sndbuf.server",
        "tune.rcvbuf.frontend", "tune.rcvbuf.backend", "tune.sndbuf.frontend", "tune.sndbuf.backend",
    ]),
    group(G, not_yet("the built-in idle pool applies"), &["tune.idle-pool.shared"]),
    group(G, not_yet("external checks are replaced by tcp checks"), &["external-check"]),
    group(G, not_yet("no mail is sent"), &["email-alert"]),
    group(G, refused("accepting invalid messages is not offered", "remove the line"), &[
        "h2-workaround-bogus-websocket-clients", "accept-unsafe-violations-in-http-request",
        "accept-unsafe-violations-in-http-response",
    ]),
];
