//! The host that dies: a process with a backend and its registration, and what synapse shows of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{SESSION, STABLE, addr};
use crate::load::Load;
use crate::machine::Cores;
use crate::proxies;
use crate::registry::{WATCHED, Writer};
use crate::{Outcome, Verdict};

/// What synapse shows of the host's backend.
#[derive(Debug)]
pub(super) struct Shown {
    /// Sent to it.
    pub(super) requests: u64,
    /// Attempts to use it that failed.
    pub(super) failures: u64,
    /// It gets new traffic.
    pub(super) is_eligible: bool,
    /// One that was never checked is given up at its first failure.
    pub(super) is_checked: bool,
}

impl Shown {
    /// `None` when it is not known (any more).
    pub(super) fn now() -> Outcome<Option<Self>> {
        let detail: Value = serde_json::from_str(&proxies::SITE.ask_admin("/services/it")?)?;
        let registered = addr(HOST).to_string();
        let servers = detail.get("servers").and_then(Value::as_array).ok_or("no servers")?;
        let Some(server) = servers
            .iter()
            .find(|s| s.get("registered").and_then(Value::as_str) == Some(&registered))
        else {
            return Ok(None);
        };
        let count = |name: &str| {
            let counter = server.get("counters").and_then(|c| c.get(name));
            counter.and_then(Value::as_u64).unwrap_or(0)
        };
        Ok(Some(Self {
            requests: count("requests"),
            failures: count("connect_errors") + count("response_errors"),
            is_eligible: server.get("eligible").and_then(Value::as_bool).ok_or("no eligible")?,
            is_checked: server.get("last_check").is_some_and(|c| !c.is_null()),
        }))
    }
}

/// The host's number among the addresses.
const HOST: usize = STABLE + 1;

/// A process with a backend and its registration.
pub(super) struct Host {
    child: Child,
}

impl Host {
    /// Returns when it is registered.
    pub(super) fn start(hosts: &str) -> Outcome<Self> {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(std::env::current_exe()?)
            .args(["host", "--zookeeper", hosts])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let host = Self { child };
        let mut line = String::new();
        BufReader::new(stdout.ok_or("no stdout")?).read_line(&mut line)?;
        if line.trim() == REGISTERED {
            Ok(host)
        } else {
            Err("the host ended before it was registered".into())
        }
    }

    /// SIGKILL: service and session at once.
    pub(super) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Dead already unless something went wrong.
        if let Err(error) = self.kill() {
            eprintln!("host: {error}");
        }
    }
}

/// What a host says when it is registered.
const REGISTERED: &str = "registered";

/// `bench host`: the host itself. Never ends.
pub(crate) fn host(hosts: &str) -> Outcome<Verdict> {
    let load = Load::start(vec![addr(HOST)], Cores::choose()?.load)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let writer = Writer::connect(hosts, SESSION).await?;
        writer.register(WATCHED, "host", addr(HOST)).await?;
        println!("{REGISTERED}");
        std::future::pending::<()>().await;
        drop((writer, load));
        Ok(Verdict::default())
    })
}
