//! `synapse demo`: the real program with made-up surroundings.
//!
//! One process, no ZooKeeper, no configuration file: three small HTTP backends on loopback, each with the watcher and
//! registrar that `nerve` runs beside it, in an in-memory registry; one service balances requests over them (round robin),
//! another connections (least-conn). Every few seconds one backend is killed and brought back: its nerve notices,
//! deregisters and registers it. Everything between the listener and the backends is what `synapse -c FILE` runs.

mod origin;
mod screen;
mod stage;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Map, Value, json};

use super::bound::Bound;
use super::cli::{say, start_log};
use super::registries::Registries;
use super::synapse::{Start, run_bound};
use crate::config::document::Document;
use crate::config::report::Report;
use crate::config::synapse::{LoadOptions, Loaded, resolve};
use crate::registry::memory::MemoryRegistry;

/// Where the demonstration's backends are registered.
const PATH: &str = "/demo/services/web";

/// What the in-memory registry is called in the configuration.
const ENSEMBLE: &str = "memory:2181";

/// Run a demonstration: three backends, two services, one backend dying every few seconds.
///
/// Needs no ZooKeeper and no configuration. A port that is taken is replaced by a free one; the screen says what to try.
#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// Port of the HTTP service.
    #[arg(long, default_value_t = 3301, value_name = "PORT")]
    http: u16,
    /// Port of the TCP service.
    #[arg(long, default_value_t = 3302, value_name = "PORT")]
    tcp: u16,
    /// Port of the admin server.
    #[arg(long, default_value_t = 3210, value_name = "PORT")]
    admin: u16,
}

/// The ports in use.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    tcp: u16,
    admin: u16,
}

/// Runs the demonstration until Ctrl-C.
pub fn run(arguments: &DemoArguments) -> ExitCode {
    let ports = match choose(arguments) {
        Ok(ports) => ports,
        Err(error) => {
            say(&format!("synapse demo: no free port on 127.0.0.1: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let loaded = match load(ports) {
        Ok(loaded) => loaded,
        Err(complaints) => {
            complaints.iter().for_each(|complaint| say(complaint));
            return ExitCode::FAILURE;
        }
    };
    let bound = match Bound::alone(&loaded) {
        Ok(bound) => bound,
        Err(complaints) => {
            complaints.iter().for_each(|complaint| say(complaint));
            return ExitCode::FAILURE;
        }
    };
    if !screen::is_terminal()
        && let Err(error) = start_log(loaded.config.process.log_format)
    {
        say(&format!("synapse demo: {error}"));
    }
    let registry = Arc::new(MemoryRegistry::new("memory"));
    let registries = Registries::memory(Arc::clone(&registry));
    let start = Start { loaded, bound, registries, options: None, former: None };
    run_bound(start, |admin, stop| {
        tokio::spawn(stage::play(registry, Arc::clone(admin), ports, stop.clone()));
    })
}

fn choose(arguments: &DemoArguments) -> std::io::Result<Ports> {
    Ok(Ports {
        http: free(arguments.http)?,
        tcp: free(arguments.tcp)?,
        admin: free(arguments.admin)?,
    })
}

/// `wanted`, or any free port when somebody else listens there.
fn free(wanted: u16) -> std::io::Result<u16> {
    let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    Ok(at(wanted).or_else(|_taken| at(0))?.local_addr()?.port())
}

/// The demonstration's configuration goes through the same loader as a file.
fn load(ports: Ports) -> Result<Loaded, Vec<String>> {
    let Value::Object(map) = configuration(ports) else {
        return Err(Vec::new());
    };
    let options = LoadOptions::new("demo");
    let document = Document::new("demo", Map::from_iter(map));
    let mut loaded = resolve(document, &options, Report::default()).map_err(|report| {
        let complaints = report.complaints.iter();
        complaints.map(ToString::to_string).collect::<Vec<_>>()
    })?;
    // Made-up backends are nothing to remember.
    loaded.config.process.state_dir = None;
    Ok(loaded)
}

fn configuration(ports: Ports) -> Value {
    let discovery = json!({"method": "zookeeper", "hosts": [ENSEMBLE], "path": PATH});
    json!({
        "services": {
            "web": {
                "discovery": discovery,
                "haproxy": {
                    "port": ports.http,
                    "bind_address": "127.0.0.1",
                    "server_options": "check inter 1s fastinter 200ms rise 2 fall 2",
                    "listen": ["mode http", "balance roundrobin", "option httpchk GET /health"],
                },
            },
            "web-tcp": {
                "discovery": discovery,
                "haproxy": {
                    "port": ports.tcp,
                    "bind_address": "127.0.0.1",
                    "server_options": "check inter 1s fastinter 200ms rise 2 fall 2",
                    "listen": ["mode tcp", "balance leastconn"],
                },
            },
        },
        "haproxy": {
            "global": [],
            "defaults": [
                "timeout connect 1s", "timeout client 60s", "timeout server 60s", "retries 3", "option redispatch",
            ],
        },
        "admin": {"listen": format!("127.0.0.1:{}", ports.admin)},
        "workers": 1,
    })
}
