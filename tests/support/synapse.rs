//! The real binary.

mod says;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};

use super::client;
use super::lab::Lab;
use super::said::Said;
use super::wait::eventually;

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(20);

/// Where the binaries to be tried are: cargo's, or `$SMARTSTACK_BIN_DIR` (the release build, for numbers).
pub(crate) fn binary(name: &str) -> PathBuf {
    match std::env::var_os("SMARTSTACK_BIN_DIR") {
        Some(dir) => PathBuf::from(dir).join(name),
        None if name == "nerve" => PathBuf::from(env!("CARGO_BIN_EXE_nerve")),
        None => PathBuf::from(env!("CARGO_BIN_EXE_synapse")),
    }
}

/// True when the binaries to be tried are optimised: then numbers are held to their bounds.
pub(crate) fn is_release() -> bool {
    binary("synapse").components().any(|c| c.as_os_str() == "release")
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a binary to its end.
pub(crate) async fn run(name: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let child = Command::new(binary(name))
        .args(args)
        .env_remove("SYNAPSE_CONFIG")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(START, child)
        .await
        .unwrap_or_else(|_| panic!("{name} {args:?}: still running after {START:?}"))
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A config with these services and nothing else that matters.
pub(crate) fn config(services: Value) -> Value {
    json!({
        "services": services,
        "haproxy": {
            "do_writes": false, "do_reloads": false, "do_socket": false,
            "global": ["maxconn 4096"],
            "defaults": [
                "timeout connect 1s", "timeout client 30s", "timeout server 30s",
                "timeout check 1s", "retries 3", "option redispatch", "balance roundrobin"
            ]
        }
    })
}

/// A service with fixed backends: `servers` are `(name, address, options)`.
pub(crate) fn fixed(
    bind: SocketAddr,
    mode: &str,
    lines: &[&str],
    servers: &[(&str, SocketAddr, &str)],
) -> Value {
    let servers: Vec<Value> = servers
        .iter()
        .map(|(name, addr, options)| {
            json!({
                "name": name, "host": addr.ip().to_string(), "port": addr.port(),
                "haproxy_server_options": options
            })
        })
        .collect();
    json!({
        "default_servers": servers,
        "discovery": {"method": "base"},
        "haproxy": listener(bind, mode, lines)
    })
}

/// The `haproxy:` section of a service whose servers are ordered by name.
pub(crate) fn listener(bind: SocketAddr, mode: &str, lines: &[&str]) -> Value {
    let mut listen = vec![format!("mode {mode}")];
    listen.extend(lines.iter().map(|line| (*line).to_owned()));
    json!({
        "port": bind.port(), "bind_address": bind.ip().to_string(),
        "backend_order": "asc", "listen": listen
    })
}

/// A running `synapse`.
pub(crate) struct Synapse {
    child: Child,
    admin: SocketAddr,
    said: Said,
    config: PathBuf,
}

impl Synapse {
    /// Writes the config (with an admin address, a state directory and two workers unless it says otherwise) and
    /// starts the binary; returns when the admin server answers.
    pub(crate) async fn start(lab: &Lab, mut config: Value, env: &[(&str, &str)]) -> Self {
        let admin = lab.free_addr();
        complete(&mut config, lab, admin);
        let file = lab.write("synapse.conf.json", &format!("{config:#}"));
        Self::spawn(admin, &file, env).until_listening().await
    }

    /// Starts the binary with a file as it is; `admin` is what the file says.
    pub(crate) async fn start_file(admin: SocketAddr, file: &Path, env: &[(&str, &str)]) -> Self {
        Self::spawn(admin, file, env).until_listening().await
    }

    fn spawn(admin: SocketAddr, file: &Path, env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary("synapse"))
            .arg("-c")
            .arg(file)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start synapse");
        let said = Said::by(&mut child);
        Self { child, admin, said, config: file.to_owned() }
    }

    /// Starts the binary once more with the same file, or with another one; it has to take over from this process.
    pub(crate) fn successor(&self, file: Option<&Path>) -> Self {
        Self::spawn(self.admin, file.unwrap_or(&self.config), &[])
    }

    /// Waits until its log contains `text`.
    pub(crate) async fn until_logged(&self, text: &str) {
        eventually(text, START, || async {
            if self.log().contains(text) { Ok(()) } else { Err(self.log()) }
        })
        .await;
    }

    async fn until_listening(mut self) -> Self {
        let end = tokio::time::Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("synapse ended with {status}");
            }
            match client::get(self.admin, "/live").await {
                Ok(answer) if answer.status == 200 => return self,
                said if tokio::time::Instant::now() > end => {
                    panic!("no admin server within {START:?}: {said:?}")
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Waits for `/ready` to say yes.
    pub(crate) async fn until_ready(&self) {
        eventually("/ready is 200", START, || async {
            let answer = client::get(self.admin, "/ready").await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
    }

    /// The admin address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.said.text()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("still running")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("not 0");
        kill_process(pid, signal).expect("signal");
    }

    /// Writes another configuration over the file it was started with; it notices on SIGHUP.
    pub(crate) fn rewrite(&self, lab: &Lab, mut config: Value) {
        complete(&mut config, lab, self.admin);
        self.rewrite_text(&format!("{config:#}"));
    }

    /// The same with any text.
    pub(crate) fn rewrite_text(&self, text: &str) {
        std::fs::write(&self.config, text).expect("write the config");
    }

    /// SIGHUP; waits until the reload has been taken or refused, and says which.
    pub(crate) async fn reload(&self) -> bool {
        let taken = "synapse_config_reloads_total";
        // Its counter counts refused generator configs, too.
        let refusals = || self.log().matches("reload refused").count();
        let before = (self.metric(taken).await, refusals());
        self.signal(Signal::HUP);
        eventually("the reload is over", START, || async {
            if self.metric(taken).await > before.0 {
                Ok(true)
            } else if refusals() > before.1 {
                Ok(false)
            } else {
                Err("neither taken nor refused")
            }
        })
        .await
    }

    /// SIGTERM; waits for the end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits for the end, and until all that it said has been read.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(START, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("synapse still runs {START:?} after it was told to stop"))
            .expect("wait");
        self.said.rest().await;
        status
    }
}

impl Drop for Synapse {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- synapse -c {}\n{}---", self.config.display(), self.log());
        }
    }
}

/// Adds what every test wants unless the test says otherwise.
fn complete(config: &mut Value, lab: &Lab, admin: SocketAddr) {
    let map: &mut Map<String, Value> = config.as_object_mut().expect("a map");
    map.insert("admin".into(), json!({"listen": admin.to_string()}));
    map.entry("state_dir").or_insert_with(|| json!(lab.dir().join("state")));
    map.entry("workers").or_insert_with(|| json!(2));
}
