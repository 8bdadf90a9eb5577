//! An independent ZooKeeper client: writes registrations as nerve, Aurora or a human would.

use std::time::Duration;

use serde_json::{Value, json};
use zookeeper_client::{Acls, Client, CreateMode, Error};

use super::origin::Origin;

/// A session that registers things.
pub(crate) struct Registrations {
    client: Client,
}

impl Registrations {
    /// Connects, with a session of 10 s.
    pub(crate) async fn connect(hosts: &str) -> Self {
        Self::connect_for(hosts, Duration::from_secs(10)).await
    }

    /// Connects, with a session that lasts this long without us.
    pub(crate) async fn connect_for(hosts: &str, session: Duration) -> Self {
        let client = Client::connector()
            .with_session_timeout(session)
            .connect(hosts)
            .await
            .unwrap_or_else(|e| panic!("{hosts}: {e}"));
        Self { client }
    }

    /// Its session's id.
    pub(crate) fn session(&self) -> i64 {
        self.client.session_id().0
    }

    /// Creates a path with its parents; fine if it exists.
    pub(crate) async fn path(&self, path: &str) {
        self.client
            .mkdir(path, &CreateMode::Persistent.with_acls(Acls::anyone_all()))
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Creates an ephemeral sequential child, as nerve does; gives its path.
    pub(crate) async fn create(&self, parent: &str, prefix: &str, data: &[u8]) -> String {
        let path = format!("{parent}/{prefix}");
        let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        let (_, sequence) = self
            .client
            .create(&path, data, &options)
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        format!("{path}{sequence}")
    }

    /// Creates a persistent child with exactly this name.
    pub(crate) async fn create_named(&self, path: &str, data: &[u8]) {
        self.client
            .create(path, data, &CreateMode::Persistent.with_acls(Acls::anyone_all()))
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// The same with many, a few hundred requests at a time.
    pub(crate) async fn create_all(&self, nodes: &[(String, String)]) {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for nodes in nodes.chunks(500) {
            // A request is queued when it is made, not when it is awaited.
            let creates: Vec<_> = nodes
                .iter()
                .map(|(path, data)| self.client.create(path, data.as_bytes(), &options))
                .collect();
            for create in creates {
                create.await.expect("a node that is not there yet");
            }
        }
    }

    /// Registers an origin in a way that outlives our session; gives its path.
    pub(crate) async fn keep(&self, parent: &str, origin: &Origin) -> String {
        let node = format!("{parent}/{}", origin.name());
        self.create_named(&node, record(origin, json!({})).to_string().as_bytes()).await;
        node
    }

    /// Registers an origin as nerve does.
    pub(crate) async fn nerve(&self, parent: &str, origin: &Origin) -> String {
        self.nerve_with(parent, origin, json!({})).await
    }

    /// Registers an origin with more fields (labels, weight, …).
    pub(crate) async fn nerve_with(&self, parent: &str, origin: &Origin, more: Value) -> String {
        let data = record(origin, more);
        self.create(parent, &format!("{}_", origin.name()), data.to_string().as_bytes()).await
    }

    /// Registers an origin in its name, as nerve's `use_path_encoding` does.
    pub(crate) async fn path_encoded(&self, parent: &str, origin: &Origin) -> String {
        use base64::Engine as _;
        let data = record(origin, json!({})).to_string();
        let text = base64::engine::general_purpose::URL_SAFE.encode(data);
        self.create(parent, &format!("base64_{}_{text}_", text.len()), b"").await
    }

    /// Registers an origin as Aurora's serverset, with its port as an additional endpoint.
    pub(crate) async fn server_set(&self, parent: &str, origin: &Origin, endpoint: &str) -> String {
        let here = json!({"host": origin.addr().ip().to_string(), "port": origin.port()});
        let data = json!({
            "serviceEndpoint": {"host": "192.0.2.1", "port": 1},
            "additionalEndpoints": {endpoint: here},
            "shard": 0, "status": "ALIVE"
        });
        self.create(parent, "member_", data.to_string().as_bytes()).await
    }

    /// Replaces a node's data.
    pub(crate) async fn set(&self, path: &str, data: &[u8]) {
        self.client.set_data(path, data, None).await.unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Deletes a node.
    pub(crate) async fn delete(&self, path: &str) {
        self.client.delete(path, None).await.unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// A node's children, or `None` when it does not exist.
    pub(crate) async fn children(&self, path: &str) -> Option<Vec<String>> {
        match self.client.list_children(path).await {
            Ok(children) => Some(children),
            Err(Error::NoNode) => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }
}

fn record(origin: &Origin, more: Value) -> Value {
    let mut record = super::list::record(origin);
    for (key, value) in more.as_object().expect("a map") {
        record[key] = value.clone();
    }
    record
}
