//! The real `nerve`, and what stands in ZooKeeper because of it.

mod nodes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::client;
use super::lab::Lab;
use super::said::Said;
use super::synapse::{Output, binary, run};
use super::wait::eventually;

pub(crate) use self::nodes::{Seen, nodes, until_nodes};

/// How long a start may take on a loaded machine.
const START: Duration = Duration::from_secs(20);

/// A service with the keys that every nerve service has; `more` adds or replaces some.
pub(crate) fn service(hosts: &str, path: &str, target: SocketAddr, more: Value) -> Value {
    let hosts: Vec<&str> = hosts.split(',').collect();
    let mut service = json!({
        "host": target.ip().to_string(), "port": target.port(),
        "zk_hosts": hosts, "zk_path": path,
        "checks": [{"type": "tcp", "timeout": 1.0}]
    });
    for (key, value) in more.as_object().expect("a map") {
        service[key] = value.clone();
    }
    service
}

/// A running `nerve`.
pub(crate) struct Nerve {
    child: Child,
    admin: SocketAddr,
    state_dir: PathBuf,
    said: Said,
    config: PathBuf,
}

impl Nerve {
    /// Writes the config (with an admin address, an instance id and a state directory unless it says otherwise) and
    /// starts the binary; returns when the admin server answers.
    pub(crate) async fn start(lab: &Lab, mut config: Value) -> Self {
        let admin = lab.free_addr();
        complete(&mut config, lab, admin);
        let file = lab.write(&format!("nerve-{}.json", admin.port()), &format!("{config:#}"));
        let state_dir = PathBuf::from(config["state_dir"].as_str().expect("a path"));
        Self::spawn(admin, &file, &state_dir, &[]).until_listening().await
    }

    /// Starts the binary once more with the same services beside this one, on an admin address of its own.
    pub(crate) async fn sibling(&self, lab: &Lab) -> Self {
        let text = std::fs::read_to_string(&self.config).expect("our own config");
        let mut config: Value = serde_json::from_str(&text).expect("our own config");
        let admin = lab.free_addr();
        config["admin"]["listen"] = json!(admin.to_string());
        let file = lab.write(&format!("nerve-{}.json", admin.port()), &format!("{config:#}"));
        Self::spawn(admin, &file, &self.state_dir, &[]).until_listening().await
    }

    /// Starts the binary again with the same file, after an end or a kill. Does not wait.
    pub(crate) fn again(&self) -> Self {
        Self::spawn(self.admin, &self.config, &self.state_dir, &[])
    }

    /// Starts the binary with arguments of the test's choice.
    pub(crate) fn spawn(
        admin: SocketAddr,
        file: &Path,
        state_dir: &Path,
        env: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(binary("nerve"))
            .arg("-c")
            .arg(file)
            .env_remove("NERVE_CONFIG")
            .env_remove("NERVE_INSTANCE_ID")
            .env_remove("NERVE_CHECK_CONFIG")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start nerve");
        let said = Said::by(&mut child);
        let (state_dir, config) = (state_dir.to_owned(), file.to_owned());
        Self { child, admin, state_dir, said, config }
    }

    /// Waits until the admin server answers.
    pub(crate) async fn until_listening(mut self) -> Self {
        let end = tokio::time::Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("nerve ended with {status}:\n{}", self.log());
            }
            match client::get(self.admin, "/live").await {
                Ok(answer) if answer.status == 200 => return self,
                said if tokio::time::Instant::now() > end => {
                    panic!("no admin server within {START:?}: {said:?}\n{}", self.log())
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

    /// Waits until nerve has heard that everything stands, but these services perhaps.
    pub(crate) async fn until_settled(&self, but: &[&str]) {
        eventually("every other registration is confirmed", START, || async {
            let metrics = self.metrics().await;
            let is_other =
                |line: &str| but.iter().any(|name| line.contains(&format!("\"{name}\"")));
            let lines = metrics.lines().filter(|line| line.starts_with("nerve_service_settled{"));
            let mut lines = lines.filter(|line| !is_other(line)).peekable();
            let is_settled = lines.peek().is_some() && lines.all(|line| line.ends_with(" 1"));
            if is_settled { Ok(()) } else { Err(metrics) }
        })
        .await;
    }

    /// `/v1/services/NAME`.
    pub(crate) async fn service(&self, name: &str) -> Value {
        let path = format!("/v1/services/{name}");
        let answer = client::get(self.admin, &path).await.expect("admin");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        client::get(self.admin, "/metrics").await.expect("admin").text()
    }

    /// A command of the client: `nerve down web …`, about the nerves of this state directory.
    pub(crate) async fn tell(&self, arguments: &[&str]) -> Output {
        let state_dir = self.state_dir.to_str().expect("text");
        let mut all = arguments.to_vec();
        all.extend(["--state-dir", state_dir]);
        run("nerve", &all, &[]).await
    }

    /// The admin address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The file it was started with.
    pub(crate) fn config(&self) -> &Path {
        &self.config
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

    /// Writes another configuration over the file, with the same admin address and state directory.
    pub(crate) fn rewrite(&self, mut config: Value) {
        config["admin"]["listen"] = json!(self.admin.to_string());
        config["state_dir"] = json!(self.state_dir);
        if config.get("instance_id").is_none() {
            config["instance_id"] = json!(INSTANCE);
        }
        std::fs::write(&self.config, format!("{config:#}")).expect("write the config");
    }

    /// SIGHUP; waits until the reload has been taken or refused, and says which.
    pub(crate) async fn reload(&self) -> bool {
        let count = |text: &str| self.log().matches(text).count();
        let (taken, refused) = ("configuration reloaded", "reload refused");
        let before = (count(taken), count(refused));
        self.signal(Signal::HUP);
        eventually("the reload is over", START, || async {
            if count(taken) > before.0 {
                Ok(true)
            } else if count(refused) > before.1 {
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

    /// SIGKILL; waits for the end.
    pub(crate) async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Waits for the end, and until all that it said has been read.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(START, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("nerve still runs {START:?} after it was told to stop"))
            .expect("wait");
        self.said.rest().await;
        status
    }
}

impl Drop for Nerve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nerve -c {}\n{}---", self.config.display(), self.log());
        }
    }
}

/// `instance_id` unless the test says otherwise.
pub(crate) const INSTANCE: &str = "i-abc123";

/// Adds what every test wants unless the test says otherwise.
fn complete(config: &mut Value, lab: &Lab, admin: SocketAddr) {
    config["admin"]["listen"] = json!(admin.to_string());
    let map = config.as_object_mut().expect("a map");
    map.entry("state_dir").or_insert_with(|| json!(lab.dir().join("nerve")));
    map.entry("instance_id").or_insert_with(|| json!(INSTANCE));
}
