//! Configurations that make the proxies alike: the same timeouts, retries and balancing, one thread for the data.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Logs, Setup, Site};
use crate::engine::http::SMALL_BODY;

/// What haproxy and synapse both understand.
const DEFAULTS: &[&str] = &[
    "timeout connect 1s",
    "timeout client 30s",
    "timeout server 30s",
    "timeout check 1s",
    "retries 3",
    "option redispatch",
    "balance roundrobin",
    "http-reuse always",
];

/// The `global` and `defaults` lines of haproxy and synapse.
fn sections(setup: &Setup, site: Site) -> [Vec<String>; 2] {
    let mut global = vec![format!("maxconn {}", setup.max_connections)];
    let mut defaults: Vec<String> = DEFAULTS.iter().map(|line| (*line).to_owned()).collect();
    let target = match setup.logs {
        Logs::Off => None,
        Logs::Udp => Some(site.log().to_string()),
        Logs::Stdout => Some("stdout format raw".to_owned()),
    };
    if let Some(target) = target {
        global.push(format!("log {target} local0"));
        defaults.extend(["log global".to_owned(), "option httplog".to_owned()]);
    }
    [global, defaults]
}

/// haproxy with fixed servers.
pub(super) fn haproxy(setup: &Setup, site: Site, mode: &str, servers: &[SocketAddr]) -> String {
    let [global, defaults] = sections(setup, site);
    let mut lines = vec!["global".to_owned(), format!("nbthread {}", setup.workers)];
    if !setup.may_splice {
        lines.push("nosplice".to_owned());
    }
    lines.extend(global);
    lines.push("defaults".to_owned());
    if setup.may_splice {
        lines.push("option splice-auto".to_owned());
    }
    lines.extend(defaults);
    for number in 0..setup.services {
        lines.extend([format!("listen it{number}"), format!("mode {mode}")]);
        lines.push(format!("bind {} {}", site.service(number), setup.bind_options));
        let options = setup.server_options;
        let server = |(n, addr)| format!("server s{n} {addr} {options}");
        lines.extend(servers.iter().enumerate().map(server));
    }
    lines.join("\n") + "\n"
}

/// synapse with one service.
pub(super) fn synapse(setup: &Setup, site: Site, dir: &Path, service: &Value) -> Value {
    let [global, defaults] = sections(setup, site);
    let mut services = Map::from_iter([("it".to_owned(), service.clone())]);
    for number in 1..setup.services {
        let mut another = service.clone();
        if let Some(port) = another.pointer_mut("/haproxy/port") {
            *port = site.service(number).port().into();
        }
        services.insert(format!("it{number}"), another);
    }
    json!({
        "admin": {"listen": site.admin().to_string()},
        "state_dir": dir.join(format!("state{}", site.0)),
        "workers": setup.workers,
        "services": services,
        "haproxy": {
            "do_writes": false, "do_reloads": false, "do_socket": false,
            "global": global, "defaults": defaults
        }
    })
}

/// A service of synapse with fixed servers.
pub(super) fn fixed(setup: &Setup, site: Site, mode: &str, servers: &[SocketAddr]) -> Value {
    let servers: Vec<Value> = servers
        .iter()
        .enumerate()
        .map(|(n, addr)| json!({"name": format!("s{n}"), "host": addr.ip().to_string(), "port": addr.port()}))
        .collect();
    let mut haproxy = listener(site, mode, &[], setup.server_options);
    if let (Some(fields), false) = (haproxy.as_object_mut(), setup.bind_options.is_empty()) {
        fields.insert("bind_options".to_owned(), setup.bind_options.into());
    }
    json!({
        "default_servers": servers,
        "discovery": {"method": "base"},
        "haproxy": haproxy
    })
}

/// A haproxy that answers over HTTP/2: the origin of rows about that.
pub(super) fn http2_origin(addrs: &[SocketAddr]) -> String {
    let mut lines: Vec<String> = ["global", "nbthread 1", "defaults", "mode http"]
        .into_iter()
        .chain(["timeout client 1m", "frontend origin"])
        .map(str::to_owned)
        .collect();
    lines.extend(addrs.iter().map(|addr| format!("bind {addr} proto h2")));
    let body = "x".repeat(SMALL_BODY);
    lines.push(format!("http-request return status 200 content-type text/plain string {body}"));
    lines.join("\n") + "\n"
}

/// The `haproxy:` section of a service; `server_options` is for every server.
pub(crate) fn listener(site: Site, mode: &str, lines: &[&str], server_options: &str) -> Value {
    let front = site.front();
    let mut listen = vec![format!("mode {mode}")];
    listen.extend(lines.iter().map(|line| (*line).to_owned()));
    json!({"port": front.port(), "bind_address": front.ip().to_string(), "backend_order": "asc",
        "server_options": server_options, "listen": listen})
}

/// nginx with fixed servers: one process, streaming in both directions as the others do, and none of its brakes (a
/// server that failed once is not avoided, connections are not closed after so many requests, no Nagle).
pub(super) fn nginx(setup: &Setup, site: Site, dir: &Path, servers: &[SocketAddr]) -> String {
    let servers: String =
        servers.iter().map(|addr| format!("server {addr} max_fails=0;")).collect();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {}/nginx_{what};\n", dir.display()))
        .collect();
    format!(
        "daemon off; master_process off; worker_processes 1;
pid {dir}/nginx.pid; error_log stderr warn; worker_rlimit_nofile {descriptors};
events {{ worker_connections {descriptors}; }}
http {{
{temp}
access_log off; tcp_nodelay on; keepalive_timeout 30s; keepalive_requests 1000000000;
upstream it {{ {servers} keepalive 2000; keepalive_requests 1000000000; }}
server {{
  listen {front} backlog=4096;
  location / {{
    proxy_pass http://it; proxy_http_version 1.1; proxy_set_header Connection \"\";
    proxy_connect_timeout 1s; proxy_read_timeout 30s; proxy_send_timeout 30s;
    proxy_request_buffering off; proxy_max_temp_file_size 0;
  }}
}}
}}
",
        dir = dir.display(),
        front = site.front(),
        descriptors = setup.max_connections * 2 + 100,
    )
}

/// Envoy with fixed servers. Its own limits of requests and connections per cluster are lifted.
pub(super) fn envoy(site: Site, servers: &[SocketAddr]) -> Value {
    let address = |addr: &SocketAddr| json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}});
    let endpoints: Vec<Value> =
        servers.iter().map(|addr| json!({"endpoint": {"address": address(addr)}})).collect();
    let many = 1_000_000;
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "it",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [{
            "name": "it", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "it", "timeout": "30s"}}]
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
            }
        }]
    });
    json!({"static_resources": {
        "listeners": [{
            "name": "it", "address": address(&site.front()),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager
            }]}]
        }],
        "clusters": [{
            "name": "it", "type": "STATIC", "connect_timeout": "1s", "lb_policy": "ROUND_ROBIN",
            "circuit_breakers": {"thresholds": [{
                "max_connections": many, "max_pending_requests": many, "max_requests": many
            }]},
            "load_assignment": {"cluster_name": "it", "endpoints": [{"lb_endpoints": endpoints}]}
        }]
    }})
}
