//! A real ZooKeeper and a writer that registers backends as nerve does.

#[path = "../../tests/support/zookeeper.rs"]
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use zookeeper_client::{Acls, Client, CreateMode};

use crate::{Outcome, machine};

/// A real server, killed when dropped.
pub(crate) use server::Zk;

/// Where synapse looks.
pub(crate) const WATCHED: &str = "/nerve/services/web/services";

/// Where nobody looks.
pub(crate) const UNWATCHED: &str = "/nerve/services/other/services";

/// Starts a server that yields to the load.
pub(crate) fn start() -> Outcome<Zk> {
    let starter = std::thread::spawn(|| {
        machine::step_back()?;
        Ok(Zk::standalone())
    });
    starter.join().map_err(|_| "ZooKeeper does not start")?
}

/// A session that registers things.
pub(crate) struct Writer {
    client: Client,
}

impl Writer {
    /// Opens a session.
    pub(crate) async fn connect(hosts: &str, session: Duration) -> Outcome<Self> {
        let connector = Client::connector().with_session_timeout(session);
        let client = connector.connect(hosts).await?;
        for path in [WATCHED, UNWATCHED] {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.mkdir(path, &options).await?;
        }
        Ok(Self { client })
    }

    /// Registers a backend: an ephemeral sequential child with nerve's record. Gives the node.
    pub(crate) async fn register(
        &self,
        path: &str,
        name: &str,
        addr: SocketAddr,
    ) -> Outcome<String> {
        let record = json!({"host": addr.ip().to_string(), "port": addr.port(), "name": name});
        let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        let node = format!("{path}/{name}_");
        let (_, sequence) =
            self.client.create(&node, record.to_string().as_bytes(), &options).await?;
        Ok(format!("{node}{sequence}"))
    }

    /// Takes a registration away.
    pub(crate) async fn deregister(&self, node: &str) -> Outcome<()> {
        Ok(self.client.delete(node, None).await?)
    }
}
