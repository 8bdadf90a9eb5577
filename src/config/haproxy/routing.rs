//! Synapse's routing of a service's lines to its frontend and backend: by prefix, without word boundaries.
//!
//! Synapse 0.18.9 knows haproxy 1.6 and silently drops `listen` lines that match neither list. We drop the same lines
//! (with a warning), except directives that our table knows: those are newer than Synapse's lists.

use super::table::Sections;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    /// To the frontend.
    pub(super) front: bool,
    /// To the backend.
    pub(super) back: bool,
}

impl Sides {
    /// Where a line that goes there may stand.
    pub(super) fn sections(self) -> Sections {
        match (self.front, self.back) {
            (true, false) => Sections::FRONTEND,
            (false, true) => Sections::BACKEND,
            _ => Sections::LISTEN,
        }
    }
}

/// Synapse's decision for a `listen` line.
pub(super) fn route(text: &str) -> Sides {
    let normal = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let both = matches(&normal, BOTH, BOTH_OPTIONS);
    Sides {
        front: both || matches(&normal, FRONTEND, FRONTEND_OPTIONS),
        back: both || matches(&normal, BACKEND, BACKEND_OPTIONS),
    }
}

fn matches(line: &str, keywords: &[&str], options: &[&str]) -> bool {
    let option = line.strip_prefix("no option ").or_else(|| line.strip_prefix("option "));
    keywords.iter().any(|keyword| line.starts_with(keyword))
        || option.is_some_and(|rest| options.iter().any(|option| rest.starts_with(option)))
}

#[rustfmt::skip]
const BOTH: &[&str] = &[
    "acl", "bind-process", "block", "compression", "description", "disabled", "email-alert from", "email-alert level",
    "email-alert mailers", "email-alert myhostname", "email-alert to", "enabled", "errorfile", "errorloc",
    "force-persist", "grace", "http-request", "http-response", "id", "ignore-persist", "log", "no log", "mode",
    "redirect", "reqadd", "reqallow", "reqdel", "reqdeny", "reqiallow", "reqidel", "reqideny", "reqipass", "reqirep",
    "reqisetbe", "reqitarpit", "reqpass", "reqrep", "reqsetbe", "reqtarpit", "rspadd", "rspdel", "rspdeny", "rspidel",
    "rspideny", "rspirep", "rsprep", "stats admin", "stats auth", "stats enable", "stats hide-version",
    "stats http-request", "stats realm", "stats refresh", "stats scope", "stats show-desc", "stats show-legends",
    "stats show-node", "stats uri", "tcp-request content", "tcp-request inspect-delay", "timeout http-keep-alive",
    "timeout http-request", "timeout tarpit",
];
#[rustfmt::skip]
const BOTH_OPTIONS: &[&str] = &[
    "forceclose", "forwardfor", "http-buffer-request", "http-keep-alive", "http-no-delay", "http-pretend-keepalive",
    "http-server-close", "http-tunnel", "http_proxy", "httpclose", "httplog", "independent-streams", "nolinger",
    "originalto", "splice-auto", "splice-request", "splice-response", "tcpka", "tcplog",
];
#[rustfmt::skip]
const FRONTEND: &[&str] = &[
    "backlog", "bind", "capture cookie", "capture request header", "capture response header", "clitimeout",
    "declare capture", "default_backend", "log-format", "maxconn", "monitor fail", "monitor-net", "monitor-uri",
    "rate-limit sessions", "tcp-request connection", "timeout client", "timeout clitimeout", "unique-id-format",
    "unique-id-header", "use_backend",
];
#[rustfmt::skip]
const FRONTEND_OPTIONS: &[&str] = &[
    "accept-invalid-http-request", "clitcpka", "contstats", "dontlog-normal", "dontlognull", "http-ignore-probes",
    "http-use-proxy-header", "log-separate-errors", "logasap", "socket-stats", "tcp-smart-accept",
];
#[rustfmt::skip]
const BACKEND: &[&str] = &[
    "appsession", "balance", "contimeout", "cookie", "default-server", "dispatch", "external-check command",
    "external-check path", "fullconn", "hash-type", "http-check disable-on-404", "http-check expect",
    "http-check send-state", "http-reuse", "http-send-name-header", "load-server-state-from-file",
    "max-keep-alive-queue", "persist rdp-cookie", "redisp", "retries", "server", "source", "srvtimeout",
    "stick match", "stick on", "stick store-request", "stick store-response", "stick-table", "tcp-check connect",
    "tcp-check expect", "tcp-check send", "tcp-response content", "tcp-response inspect-delay", "timeout check",
    "timeout connect", "timeout contimeout", "timeout queue", "timeout server", "timeout srvtimeout", "timeout tunnel",
    "transparent", "use-server",
];
#[rustfmt::skip]
const BACKEND_OPTIONS: &[&str] = &[
    "abortonclose", "accept-invalid-http-response", "allbackups", "allredisp", "checkcache", "external-check",
    "httpchk", "lb-agent-chk", "ldap-check", "log-health-checks", "mysql-check", "persist", "pgsql-check",
    "prefer-last-server", "redis-check", "redispatch", "smtpchk", "srvtcpka", "ssl-hello-chk", "tcp-check",
    "tcp-smart-connect", "transparent",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_where_synapse_sends_them() {
        for (text, front, back) in [
            ("mode http", true, true),
            ("  MODE\t http", true, true),
            ("option  httplog", true, true),
            ("option httpchk GET /ping", false, true),
            ("timeout  client 300s", true, false),
            ("timeout server-fin 3s", false, true),
            ("balance leastconn", false, true),
            ("no option forceclose", true, true),
            ("no log", true, true),
            ("log-format x", true, true),
            ("idle", true, true),
            ("option redispatch 1", false, true),
            ("http-check send meth GET", false, false),
            ("retry-on all-retryable-errors", false, false),
            ("bogus directive", false, false),
            ("maxconn 5", true, false),
        ] {
            assert_eq!(route(text), Sides { front, back }, "{text}");
        }
    }
}
