//! One service that is discovered in a real ZooKeeper.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::client::get;
use super::lab::Lab;
use super::origin::Origin;
use super::registry::Registrations;
use super::synapse::{Synapse, config, listener};
use super::wait::{always, eventually};
use super::zookeeper::Zk;

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ZooKeeper, a session to register with, and the address of the service `web`, which discovers [`Scene::PATH`].
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) zk: Zk,
    pub(crate) registrations: Registrations,
    pub(crate) front: SocketAddr,
    /// Where synapse looks for ZooKeeper.
    pub(crate) hosts: Vec<String>,
}

impl Scene {
    /// The parent of the registrations.
    pub(crate) const PATH: &str = "/nerve/services/web";

    /// A server of its own, in which [`Scene::PATH`] exists.
    pub(crate) async fn new() -> Self {
        let scene = Self::bare().await;
        scene.registrations.path(Self::PATH).await;
        scene
    }

    /// An empty server.
    pub(crate) async fn bare() -> Self {
        let lab = Lab::new().await;
        Self::with(lab, Zk::standalone()).await
    }

    /// These servers, in which [`Scene::PATH`] exists. Only on a runtime with several threads.
    pub(crate) async fn of(zookeeper: impl FnOnce() -> Zk) -> Self {
        let lab = Lab::new().await;
        let scene = Self::with(lab, block_in_place(zookeeper)).await;
        scene.registrations.path(Self::PATH).await;
        scene
    }

    async fn with(lab: Lab, zk: Zk) -> Self {
        let registrations = Registrations::connect(&zk.connect_string()).await;
        let hosts = zk.connect_string().split(',').map(str::to_owned).collect();
        Self { front: lab.free_addr(), lab, zk, registrations, hosts }
    }

    /// The service, changed by `change`.
    pub(crate) fn config(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut service = json!({
            "discovery": {"method": "zookeeper", "hosts": self.hosts, "path": Self::PATH},
            "haproxy": listener(self.front, "http", &[])
        });
        change(&mut service);
        config(json!({"web": service}))
    }

    /// The service with a session timeout.
    pub(crate) fn config_for_session(&self, seconds: u32) -> Value {
        let mut config = self.config(|_| ());
        config["zk_session_timeout"] = json!(seconds);
        config
    }

    pub(crate) async fn synapse(&self, change: impl FnOnce(&mut Value)) -> Synapse {
        self.lab.synapse(self.config(change)).await
    }

    /// Synapse with a session timeout.
    pub(crate) async fn synapse_for_session(&self, seconds: u32) -> Synapse {
        self.lab.synapse(self.config_for_session(seconds)).await
    }

    /// An origin registered as nerve does, and its node.
    pub(crate) async fn nerve(&self, name: &str) -> (Origin, String) {
        let origin = self.lab.origin(name).await;
        let node = self.registrations.nerve(Self::PATH, &origin).await;
        (origin, node)
    }

    /// An origin whose registration outlives our session; its node.
    pub(crate) async fn keep(&self, name: &str) -> String {
        let origin = self.lab.origin(name).await;
        self.registrations.keep(Self::PATH, &origin).await
    }

    /// `Ok` when exactly these origins answer.
    pub(crate) async fn serves(&self, want: &str) -> Result<(), String> {
        let want: BTreeSet<char> = want.chars().collect();
        let mut seen = BTreeSet::new();
        for _ in 0..3 * want.len() {
            let answer = get(self.front, "/").await?;
            if answer.status != 200 {
                return Err(format!("status {} after {seen:?}", answer.status));
            }
            seen.extend(answer.text().chars());
        }
        if seen == want { Ok(()) } else { Err(format!("{seen:?}")) }
    }

    pub(crate) async fn until_serves(&self, want: &str) {
        eventually(&format!("{want} serve"), PATIENCE, || self.serves(want)).await;
    }

    /// Exactly these serve, all the time.
    pub(crate) async fn always_serves(&self, want: &str, span: Duration) {
        always(&format!("{want} serve"), span, || self.serves(want)).await;
    }

    /// Waits until nobody serves.
    pub(crate) async fn until_unavailable(&self) {
        eventually("503", PATIENCE, || async {
            let answer = get(self.front, "/").await?;
            if answer.status == 503 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
    }
}
