//! Reporters on real servers: what the registrar tests share.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use smartstack::endpoint::ServiceName;
use smartstack::registration::claims::{Claims, Spot};
use smartstack::registration::{
    Kin, Phase, Place, Registration, RegistrationSettings, Relation, Wanted, ZooKeeperPlace, build,
    claimant,
};
use smartstack::registry::Registry;
use smartstack::registry::record::NerveRecord;
use smartstack::registry::writer::{NodeKind, RegistryWriter};
use smartstack::registry::zookeeper::ZooKeeperRegistry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zookeeper_client::Client;

/// A `state_dir` in memory, shared by the nerves of one host.
#[derive(Debug, Default)]
pub(crate) struct Family {
    relations: Mutex<HashMap<i64, Relation>>,
    nodes: Mutex<BTreeSet<(Spot, String)>>,
    claims: Claims,
}

impl Family {
    /// Of every session that is not told, strangers.
    pub(crate) fn tell(&self, session: i64, relation: Relation) {
        self.relations.lock().unwrap().insert(session, relation);
    }
}

impl Kin for Family {
    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn relation(&self, session: i64) -> Relation {
        self.relations.lock().unwrap().get(&session).copied().unwrap_or(Relation::Foreign)
    }

    fn remembered(&self, spot: &Spot) -> BTreeSet<String> {
        let nodes = self.nodes.lock().unwrap();
        nodes.iter().filter(|(at, _)| at == spot).map(|(_, node)| node.clone()).collect()
    }

    fn remember(&self, spot: &Spot, made: &BTreeSet<String>, gone: &BTreeSet<String>) {
        let mut nodes = self.nodes.lock().unwrap();
        nodes.extend(made.iter().map(|node| (spot.clone(), node.clone())));
        nodes.retain(|(at, node)| at != spot || !gone.contains(node));
    }

    fn is_of_younger(&self, _ensemble: &str, _node: &str) -> bool {
        false
    }
}

/// What is registered where.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) record: NerveRecord,
    pub(crate) place: ZooKeeperPlace,
    pub(crate) kin: Arc<Family>,
}

impl Spec {
    pub(crate) fn new(path: &str, kind: NodeKind) -> Self {
        Self {
            record: NerveRecord {
                host: "10.0.0.1".into(),
                port: json!(8080),
                name: "i-abc123".into(),
                weight: None,
                haproxy_server_options: None,
                labels: None,
            },
            place: ZooKeeperPlace {
                ensemble: "test".into(),
                path: path.into(),
                kind,
                is_path_encoded: false,
                ttl: None,
            },
            kin: Arc::default(),
        }
    }

    pub(crate) fn labels(mut self, labels: &Value) -> Self {
        self.record.labels = Some(labels.clone());
        self
    }

    /// Starts a reporter on the session of `registry`.
    pub(crate) fn start(&self, registry: &Arc<ZooKeeperRegistry>, wish: Wanted) -> Reporting {
        let settings = RegistrationSettings {
            service: ServiceName::new("web"),
            record: self.record.clone(),
            place: Place::ZooKeeper(self.place.clone()),
        };
        let registry: Arc<dyn RegistryWriter> = Arc::clone(registry) as Arc<dyn RegistryWriter>;
        let kin: Arc<dyn Kin> = Arc::clone(&self.kin) as Arc<dyn Kin>;
        let reporter = build(&settings, Some(&registry), &claimant(&settings, &kin));
        let (wanted, wishes) = watch::channel(wish);
        let (out, state) = watch::channel(Registration::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(reporter.run(wishes, out, stop.clone()));
        Reporting { wanted, state, stop, task }
    }

    /// Names and data of the children, and their owners.
    pub(crate) async fn children(&self, client: &Client) -> Vec<(String, String, i64)> {
        let mut children = Vec::new();
        for name in client.list_children(&self.place.path).await.unwrap_or_default() {
            let path = format!("{}/{name}", self.place.path);
            if let Ok((data, stat)) = client.get_data(&path).await {
                children.push((name, String::from_utf8(data).unwrap(), stat.ephemeral_owner));
            }
        }
        children.sort();
        children
    }

    /// The only child; it says what is to be said.
    pub(crate) async fn the_one(&self, client: &Client) -> (String, i64) {
        let children = self.children(client).await;
        assert_eq!(children.len(), 1, "{children:?}");
        let (name, data, owner) = children.into_iter().next().unwrap();
        assert_eq!(data.as_bytes(), self.record.encode());
        (format!("{}/{name}", self.place.path), owner)
    }
}

/// A reporter that runs.
pub(crate) struct Reporting {
    pub(crate) wanted: watch::Sender<Wanted>,
    pub(crate) state: watch::Receiver<Registration>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Reporting {
    pub(crate) async fn until(
        &mut self,
        seconds: u64,
        holds: impl FnMut(&Registration) -> bool,
    ) -> Registration {
        let found = timeout(Duration::from_secs(seconds), self.state.wait_for(holds)).await;
        match found.map(|state| state.unwrap().clone()) {
            Ok(state) => state,
            Err(_) => panic!("not within {seconds} s: {:?}", self.state.borrow()),
        }
    }

    pub(crate) async fn phase(&mut self, phase: Phase, seconds: u64) -> Registration {
        self.until(seconds, |state| state.phase == phase).await
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) fn session(registry: &ZooKeeperRegistry) -> i64 {
    registry.session().borrow().id.unwrap()
}
