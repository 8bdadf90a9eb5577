//! synapse in a process of its own, with backends from a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::Failure;
use crate::service::Backend;

/// How long a start, and a change of its backends, may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Proxy {
    _child: Child,
    admin: SocketAddr,
    list: PathBuf,
}

impl Proxy {
    /// Starts it on `front`, with all of `backends`; its files are below `dir`.
    pub async fn start(
        (binary, dir): (&Path, &Path),
        (front, admin): (SocketAddr, SocketAddr),
        backends: &[Backend],
    ) -> Result<Self, Failure> {
        let list = dir.join("backends.json");
        let all: Vec<&Backend> = backends.iter().collect();
        write(&list, &all, None).await?;
        let config = json!({
            "services": {"grpc": {
                "discovery": {"method": "file", "path": list, "poll_interval": 0.05},
                "haproxy": {
                    "port": front.port(), "bind_address": front.ip().to_string(),
                    "bind_options": "proto h2", "server_options": "proto h2 check inter 200ms",
                    "listen": ["mode http", "balance roundrobin"],
                },
            }},
            "haproxy": {
                "do_writes": false, "do_reloads": false, "do_socket": false,
                "defaults": [
                    "timeout connect 1s", "timeout client 60s", "timeout server 60s",
                    "timeout check 1s", "retries 3", "option redispatch 1",
                ],
            },
            "admin": {"listen": admin.to_string()},
            "state_dir": dir.join("state"),
            "workers": 2,
        });
        let file = dir.join("synapse.json");
        tokio::fs::write(&file, config.to_string()).await?;
        let log = std::fs::File::create(dir.join("synapse.log"))?;
        let child = Command::new(binary)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let proxy = Self { _child: child, admin, list };
        proxy.until_serving(backends.len(), false).await?;
        Ok(proxy)
    }

    /// Replaces its backends; returns when calls go to all of these and no others. `drained` stays known, with weight 0.
    pub async fn serve(
        &self,
        backends: &[&Backend],
        drained: Option<&Backend>,
    ) -> Result<(), Failure> {
        write(&self.list, backends, drained).await?;
        self.until_serving(backends.len(), drained.is_some()).await
    }

    /// Waits until calls go to so many backends, and none to others, of which there is one if one `is_drained`.
    pub async fn until_serving(&self, want: usize, is_drained: bool) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.servers().await;
            if let Ok(servers) = &seen {
                let serving = servers.iter().filter(|server| server["eligible"] == true).count();
                if servers.len() == want + usize::from(is_drained) && serving == want {
                    return Ok(());
                }
            }
            if Instant::now() > end {
                return Err(format!("not {want} backends within {PATIENCE:?}: {seen:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn servers(&self) -> Result<Vec<Value>, Failure> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let ask = "GET /services/grpc HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let body = text.split_once("\r\n\r\n").ok_or("no answer")?.1;
        let service: Value = serde_json::from_str(body)?;
        Ok(service["servers"].as_array().cloned().unwrap_or_default())
    }
}

async fn write(
    list: &Path,
    backends: &[&Backend],
    drained: Option<&Backend>,
) -> Result<(), Failure> {
    let record = |it: &Backend, options: &str| {
        json!({
            "name": it.name, "host": it.addr.ip().to_string(), "port": it.addr.port(),
            "haproxy_server_options": options,
        })
    };
    let serving = backends.iter().map(|it| record(it, ""));
    let records: Value = serving.chain(drained.map(|it| record(it, "weight 0"))).collect();
    // Renamed, so that nobody reads a half of it.
    let new = list.with_extension("new");
    tokio::fs::write(&new, records.to_string()).await?;
    Ok(tokio::fs::rename(&new, list).await?)
}
