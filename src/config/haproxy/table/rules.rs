//! Rules: what haproxy does to single connections, requests and responses.

use super::{B, Class, DFB, F, FB, Group, group, not_yet, refused};

const ACCESS: Class = refused(
    "traffic that haproxy turns away would reach the backends",
    "filter it in the application or in a firewall",
);
const ANSWERED: Class = refused(
    "requests that haproxy answers itself would reach the backends",
    "answer them in the application",
);
const REWRITE: Class = refused(
    "backends would receive other requests than with haproxy",
    "do this in the application",
);
const HEADERS: Class = not_yet("headers are passed on unchanged");
const UNMARKED: Class = not_yet("connections and requests are not marked or counted");

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    // Alone it does nothing; the rules that use it are judged.
    group(DFB, Class::Harmless, &["acl"]),
    group(FB, ACCESS, &[
        "block", "reqdeny", "reqideny", "rspdeny", "rspideny", "tcp-request content reject",
        "tcp-request content silent-drop", "tcp-request connection reject", "tcp-request connection silent-drop",
        "tcp-request session reject", "tcp-request session silent-drop", "tcp-request content close",
        "tcp-response content reject", "tcp-response content close", "tcp-response content silent-drop",
    ]),
    group(DFB, ACCESS, &[
        "http-request deny", "http-request reject", "http-request silent-drop", "http-request auth",
        "http-response deny", "http-response silent-drop", "http-request wait-for-handshake",
    ]),
    group(DFB, ANSWERED, &[
        "redirect", "http-request redirect", "http-request return", "http-request use-service",
        "http-response redirect", "http-response return", "http-request cache-use",
        "tcp-request content use-service", "tcp-request content switch-mode",
    ]),
    group(DFB, refused("requests would reach another backend than they do with haproxy", "give each backend a service with a port of its own"), &[
        "reqsetbe", "reqisetbe", "http-request set-dst", "http-request set-dst-port", "tcp-request content set-dst",
        "tcp-request content set-dst-port", "tcp-request connection set-dst", "tcp-request connection set-dst-port",
        "tcp-request session set-dst", "tcp-request session set-dst-port",
    ]),
    group(DFB, REWRITE, &[
        "http-request set-path", "http-request set-pathq", "http-request set-uri", "http-request set-query",
        "http-request set-method", "http-request replace-path", "http-request replace-pathq",
        "http-request replace-uri", "http-request normalize-uri", "http-response set-status",
        "http-after-response set-status",
    ]),
    group(DFB, refused("the proxy protocol is not accepted yet", "remove it, and send plain connections to this port"), &[
        "tcp-request connection expect-proxy", "tcp-request connection expect-netscaler-cip",
    ]),
    group(DFB, refused("this action is not known, and may change what backends and clients see", "remove the line"), &[
        "http-request", "http-response", "http-after-response", "tcp-request connection", "tcp-request content",
        "tcp-request session", "tcp-response content",
    ]),
    group(FB, HEADERS, &[
        "reqadd", "reqdel", "reqidel", "reqrep", "reqirep", "rspadd", "rspdel", "rspidel", "rsprep", "rspirep",
    ]),
    group(DFB, HEADERS, &[
        "http-request add-header", "http-request set-header", "http-request del-header",
        "http-request replace-header", "http-request replace-value", "http-request early-hint",
        "http-response add-header", "http-response set-header", "http-response del-header",
        "http-response replace-header", "http-response replace-value", "http-after-response add-header",
        "http-after-response set-header", "http-after-response del-header", "http-after-response replace-header",
        "http-after-response replace-value",
    ]),
    group(DFB, not_yet("nothing is tarpitted"), &["reqtarpit", "reqitarpit", "http-request tarpit"]),
    // Permission without prohibition.
    group(DFB, Class::Harmless, &[
        "reqallow", "reqiallow", "reqpass", "reqipass", "http-request allow", "http-response allow",
        "tcp-request connection accept", "tcp-request session accept", "http-after-response allow",
    ]),
    group(DFB, not_yet("content is not inspected before it is passed on"), &[
        "tcp-request content accept", "tcp-response content accept", "tcp-request inspect-delay",
        "tcp-response inspect-delay", "http-request wait-for-body", "http-response wait-for-body",
    ]),
    group(DFB, UNMARKED, &[
        "http-request capture", "http-response capture", "http-request set-log-level", "http-response set-log-level",
        "http-request set-nice", "http-response set-nice", "http-request set-tos", "http-response set-tos",
        "http-request set-mark", "http-response set-mark", "http-request set-var", "http-request set-var-fmt",
        "http-response set-var", "http-response set-var-fmt", "http-request unset-var", "http-response unset-var",
        "http-request set-src", "http-request set-src-port", "http-request set-timeout", "http-request track-sc0",
        "http-request track-sc1", "http-request track-sc2", "http-request sc-inc-gpc0", "http-request sc-inc-gpc1",
        "http-request sc-set-gpt0", "http-request add-acl", "http-request del-acl", "http-request set-map",
        "http-request del-map", "http-response add-acl", "http-response del-acl", "http-response set-map",
        "http-response del-map", "http-request send-spoe-group", "http-request do-resolve",
        "http-response cache-store", "http-request disable-l7-retry", "http-request set-priority-class",
        "http-request set-priority-offset", "http-request strict-mode", "http-response strict-mode",
        "http-after-response set-var", "http-after-response unset-var", "http-after-response strict-mode",
        "tcp-request connection track-sc0", "tcp-request connection track-sc1", "tcp-request connection track-sc2",
        "tcp-request connection set-src", "tcp-request connection sc-inc-gpc0", "tcp-request content capture",
        "tcp-request content set-var", "tcp-request content unset-var", "tcp-request content track-sc0",
        "tcp-request content track-sc1", "tcp-request content track-sc2", "tcp-request content set-priority-class",
        "tcp-request content set-priority-offset", "tcp-request content do-resolve", "tcp-request content sc-inc-gpc0",
        "tcp-request session track-sc0", "tcp-request session track-sc1", "tcp-request session track-sc2",
        "tcp-request session set-var", "tcp-request session set-var-fmt", "tcp-request session unset-var",
        "tcp-request session set-src", "tcp-request session set-src-port", "tcp-request session set-mark",
        "tcp-request session set-tos", "tcp-request session sc-inc-gpc", "tcp-request session sc-inc-gpc0",
        "tcp-request session sc-inc-gpc1", "tcp-request session sc-set-gpt", "tcp-request session sc-set-gpt0",
        "tcp-request connection set-var", "tcp-request connection set-var-fmt", "tcp-request connection unset-var",
        "tcp-request connection set-src-port", "tcp-request connection set-mark", "tcp-request connection set-tos",
        "tcp-request connection sc-inc-gpc", "tcp-request connection sc-inc-gpc1",
        "tcp-request connection sc-set-gpt", "tcp-request connection sc-set-gpt0", "tcp-request content ot-group",
        "tcp-request content sc-inc-gpc", "tcp-request content sc-inc-gpc1", "tcp-request content sc-set-gpt",
        "tcp-request content sc-set-gpt0", "tcp-request content send-spoe-group",
        "tcp-request content set-log-level", "tcp-request content set-mark", "tcp-request content set-nice",
        "tcp-request content set-src", "tcp-request content set-src-port", "tcp-request content set-tos",
        "tcp-request content set-var-fmt", "tcp-response content set-var", "tcp-response content set-var-fmt",
        "tcp-response content unset-var", "tcp-response content ot-group", "tcp-response content sc-inc-gpc",
        "tcp-response content sc-inc-gpc0", "tcp-response content sc-inc-gpc1", "tcp-response content sc-set-gpt",
        "tcp-response content sc-set-gpt0", "tcp-response content send-spoe-group",
        "tcp-response content set-log-level", "tcp-response content set-mark", "tcp-response content set-nice",
        "tcp-response content set-tos", "http-request ot-group", "http-request sc-inc-gpc",
        "http-request sc-set-gpt", "http-request track-sc", "http-response ot-group", "http-response sc-inc-gpc",
        "http-response sc-inc-gpc0", "http-response sc-inc-gpc1", "http-response sc-set-gpt",
        "http-response sc-set-gpt0", "http-response send-spoe-group", "http-response track-sc",
        "http-response track-sc0", "http-response track-sc1", "http-response track-sc2",
        "http-after-response capture", "http-after-response ot-group", "http-after-response set-var-fmt",
    ]),
    group(F.or(B), not_yet("quic is not offered"), &["quic-initial"]),
];
