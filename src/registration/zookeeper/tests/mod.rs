//! The reporter on the in-memory registry: the shared contract, single edges, and a random walk through all faults.

mod node;
mod relations;
mod troubles;
mod walk;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::contract::{Rig, Running, check};
use super::super::{Phase, Reporter};
use super::*;
use crate::registration::claims::tests::Notebook;
use crate::registration::claims::{Claimant, Claims, Spot};
use crate::registration::{Kin, Place, RegistrationSettings, claimant};
use crate::registry::memory::MemoryRegistry;
use crate::registry::writer::NodeKind;

const PATH: &str = "/services/web";
const KINDS: [NodeKind; 4] = [
    NodeKind::EphemeralSequential,
    NodeKind::Ephemeral,
    NodeKind::PersistentSequential,
    NodeKind::Persistent,
];

/// A `state_dir` in memory.
#[derive(Debug, Default)]
struct Family {
    relations: Mutex<HashMap<i64, Relation>>,
    nodes: Notebook,
    claims: Claims,
    younger: Mutex<Option<String>>,
}

impl Family {
    fn tell(&self, session: i64, relation: Relation) {
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
        self.nodes.read(spot)
    }

    fn remember(&self, spot: &Spot, made: &BTreeSet<String>, gone: &BTreeSet<String>) {
        self.nodes.write(spot, made, gone);
    }

    fn is_of_younger(&self, _ensemble: &str, node: &str) -> bool {
        self.younger.lock().unwrap().as_deref() == Some(node)
    }
}

#[derive(Clone)]
struct Home {
    registry: MemoryRegistry,
    kin: Arc<Family>,
    record: NerveRecord,
    place: ZooKeeperPlace,
}

impl Home {
    fn new(kind: NodeKind) -> Self {
        Self {
            registry: MemoryRegistry::default(),
            kin: Arc::default(),
            record: NerveRecord {
                host: "10.0.0.1".into(),
                port: json!(8080),
                name: "i-1".into(),
                weight: None,
                haproxy_server_options: None,
                labels: None,
            },
            place: ZooKeeperPlace {
                ensemble: "memory".into(),
                path: PATH.into(),
                kind,
                is_path_encoded: false,
                ttl: None,
            },
        }
    }

    fn reporter(&self) -> Box<dyn Reporter> {
        let registry: Arc<dyn RegistryWriter> = Arc::new(self.registry.clone());
        let (service, claimant) = (ServiceName::new("web"), self.claimant());
        Box::new(ZooKeeperReporter::new(registry, claimant, service, &self.record, &self.place))
    }

    fn claimant(&self) -> Arc<Claimant> {
        let kin: Arc<dyn Kin> = self.kin.clone();
        let (service, place) = (ServiceName::new("web"), Place::ZooKeeper(self.place.clone()));
        claimant(&RegistrationSettings { service, record: self.record.clone(), place }, &kin)
    }

    fn start(&self, wish: Wanted) -> Running {
        Running::start(self.reporter(), wish)
    }

    async fn registered(&self) -> Running {
        let mut running = self.start(Wanted::Present);
        running.phase(Phase::Registered).await;
        running
    }

    fn bytes(&self) -> Vec<u8> {
        self.record.encode()
    }

    /// Children with our bytes.
    fn ours(&self) -> Vec<String> {
        let names = self.registry.peek_children(PATH).into_iter();
        let is_ours = |name: &String| {
            self.registry.peek(&format!("{PATH}/{name}")).unwrap().data == self.bytes()
        };
        names.filter(is_ours).collect()
    }

    fn the_one(&self) -> (String, i64) {
        let ours = self.ours();
        assert_eq!(ours.len(), 1, "{ours:?}");
        let path = format!("{PATH}/{}", ours[0]);
        let owner = self.registry.peek(&path).unwrap().ephemeral_owner;
        (path, owner)
    }

    fn fixed(&self) -> String {
        format!("{PATH}/i-1_")
    }
}

struct InMemory {
    home: Home,
    others: Vec<(String, crate::registry::Node)>,
}

impl InMemory {
    fn new(kind: NodeKind, is_path_encoded: bool) -> Self {
        let mut home = Home::new(kind);
        home.place.is_path_encoded = is_path_encoded;
        let others = populate(&home);
        Self { home, others }
    }
}

/// Nodes of others, some of them with names like ours.
fn populate(home: &Home) -> Vec<(String, crate::registry::Node)> {
    let registry = &home.registry;
    let other_port = r#"{"host":"10.0.0.1","port":8081,"name":"i-1"}"#;
    let names = [
        registry.put_sequential(&format!("{PATH}/i-1_"), other_port, 900),
        registry.put_sequential(&format!("{PATH}/i-1_"), home.bytes(), 901),
        registry.put_sequential(&format!("{PATH}/i-12_"), "", 902),
        registry.put_sequential(&format!("{PATH}/i-1_2_"), "junk", 0),
        registry.put_sequential(&format!("{PATH}/base64_4_abc"), "junk", 0),
    ];
    names.map(|path| (path.clone(), registry.peek(&path).unwrap())).into()
}

impl InMemory {
    fn is_of_others(&self, name: &str) -> bool {
        self.others.iter().any(|(other, _)| other == &format!("{PATH}/{name}"))
    }

    fn our_paths(&self) -> Vec<String> {
        let ours = self.home.ours().into_iter().filter(|name| !self.is_of_others(name));
        ours.map(|name| format!("{PATH}/{name}")).collect()
    }

    /// An operator writes into ours.
    fn scribble(&self) {
        // A node without owner and with an open outcome is known by its bytes only: not in that moment.
        if self.home.place.kind != NodeKind::PersistentSequential {
            for path in self.our_paths() {
                self.home.registry.set_data(&path, "scribble");
            }
        }
    }
}

impl Rig for InMemory {
    fn reporter(&self) -> Box<dyn Reporter> {
        self.home.reporter()
    }

    fn count(&self) -> usize {
        self.our_paths().len()
    }

    fn is_others_untouched(&self) -> bool {
        self.others.iter().all(|(path, node)| self.home.registry.peek(path).as_ref() == Some(node))
    }

    fn remove(&self) {
        for path in self.our_paths() {
            self.home.registry.delete(&path);
        }
    }

    fn lose(&self) {
        self.home.registry.cut();
    }

    fn recover(&self) {
        self.home.registry.heal();
    }
}
