//! What can happen to ZooKeeper, and the service that has to survive it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, sleep_until};

use super::{PATH, PATIENCE};
use crate::support::child::ip;
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::registry::Registrations;
use crate::support::synapse::{config, listener};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

/// The address of ZooKeeper on an interface of its own, which can be taken down.
pub(crate) const OWN: &str = "10.99.7.1";

/// What happens to ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`; started again afterwards.
    Killed,
    /// SIGSTOP for twice the session.
    Hung,
    /// `kill -9` and a start, again and again.
    Restarted,
    /// `kill -9`, its data removed, started; nobody registers for a while.
    Wiped,
    /// Every child deleted, one after the other.
    Emptied,
    /// Every child deleted, and then the parent.
    ParentDeleted,
    /// The leader of three killed.
    LeaderLost,
    /// Two of three killed.
    QuorumLost,
    /// The interface to it down; `true` in a network namespace of our own only.
    InterfaceDown,
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// `zk_session_timeout`, in seconds.
    pub(super) session: u32,
    /// How long the fault lasts.
    pub(super) outage: Duration,
    /// How long the load lasts at least.
    pub(super) load: Duration,
}

pub(super) const BRIEF: Pace =
    Pace { session: 2, outage: Duration::from_secs(4), load: Duration::from_secs(7) };
pub(super) const LONG: Pace =
    Pace { session: 10, outage: Duration::from_secs(25), load: Duration::from_secs(60) };

impl Fault {
    pub(super) fn zookeeper(self) -> Zk {
        match self {
            Self::LeaderLost | Self::QuorumLost => Zk::ensemble(3),
            Self::InterfaceDown => interface_of_its_own(),
            Self::Killed
            | Self::Hung
            | Self::Restarted
            | Self::Wiped
            | Self::Emptied
            | Self::ParentDeleted => Zk::standalone(),
        }
    }

    /// True when the registrations themselves are taken away.
    pub(super) fn deletes(self) -> bool {
        matches!(self, Self::Emptied | Self::ParentDeleted)
    }

    /// True when the server has just been started at the end of the outage.
    pub(super) fn starts_anew(self) -> bool {
        matches!(self, Self::Restarted | Self::Wiped)
    }

    /// True while synapse has to say that it hears nobody.
    pub(super) fn silences(self) -> bool {
        matches!(self, Self::Killed | Self::Hung | Self::QuorumLost | Self::InterfaceDown)
    }

    /// Lets it happen, for the time of the outage.
    pub(super) async fn strike(self, zk: &Zk, nodes: &[String], outage: Duration) {
        let end = Instant::now() + outage;
        match self {
            Self::Killed => zk.kill9(),
            Self::Hung => zk.stop(),
            Self::Restarted => {
                while Instant::now() < end {
                    block_in_place(|| {
                        zk.kill9();
                        zk.restart();
                    });
                    // How long it lives is part of the fault.
                    sleep(outage / 4).await;
                }
            }
            Self::Wiped => block_in_place(|| {
                zk.kill9();
                zk.wipe();
                zk.restart();
            }),
            Self::Emptied | Self::ParentDeleted => {
                let registrations = Registrations::connect(&zk.connect_string()).await;
                for node in nodes {
                    registrations.delete(node).await;
                    // As one operator deletes them, not all at once.
                    sleep(outage / 8).await;
                }
                if self == Self::ParentDeleted {
                    registrations.delete(PATH).await;
                }
            }
            Self::LeaderLost => zk.leader().kill9(),
            Self::QuorumLost => zk.members().iter().take(2).for_each(|m| m.kill9()),
            Self::InterfaceDown => interface_down(),
        }
        sleep_until(end).await;
    }

    /// Ends it: from now on ZooKeeper answers.
    pub(super) fn heal(self, zk: &Zk) {
        match self {
            Self::Killed | Self::QuorumLost => block_in_place(|| zk.restart()),
            Self::Hung => zk.cont(),
            Self::InterfaceDown => interface_up(),
            // Two of three are enough, an empty one is a healthy one.
            Self::Restarted
            | Self::Wiped
            | Self::Emptied
            | Self::ParentDeleted
            | Self::LeaderLost => {}
        }
    }
}

/// A server that synapse reaches over an interface which is not `lo`. Only in a network namespace of our own.
pub(crate) fn interface_of_its_own() -> Zk {
    ip("link set lo up");
    // One end of a cable; its other end only keeps the line alive.
    ip("link add zk0 type veth peer name zk1");
    ip("link set zk1 up");
    interface_up();
    Zk::standalone_with("clientPortAddress=0.0.0.0")
}

pub(crate) fn interface_up() {
    ip("link set zk0 up");
    ip(&format!("addr add {OWN}/24 dev zk0"));
}

/// With its address, as DHCP does it: our server is on this host, and its address would be reachable without a link.
pub(crate) fn interface_down() {
    ip(&format!("addr del {OWN}/24 dev zk0"));
    ip("link set zk0 down");
}

/// Where synapse is told to look.
pub(super) fn hosts(fault: Fault, zk: &Zk) -> Vec<String> {
    if fault == Fault::InterfaceDown {
        return vec![format!("{OWN}:{}", zk.member(0).addr().port())];
    }
    let all = zk.connect_string();
    all.split(',').map(str::to_owned).collect()
}

pub(super) fn web(hosts: &[String], lab: &Lab, session: u32) -> (SocketAddr, Value) {
    let front = lab.free_addr();
    let mut config = config(json!({"web": {
        "discovery": {"method": "zookeeper", "hosts": hosts, "path": PATH},
        "haproxy": listener(front, "http", &[])
    }}));
    config["zk_session_timeout"] = json!(session);
    (front, config)
}

pub(super) async fn until_asked(origin: &Origin) {
    eventually(&format!("{} is used", origin.name()), PATIENCE, || async {
        origin.times().first.ok_or("no request yet")
    })
    .await;
}

/// Asks until the origin is asked.
pub(super) async fn until_used(front: SocketAddr, origin: &Origin) {
    eventually(&format!("{} is used", origin.name()), PATIENCE, || async {
        get(front, "/").await?;
        match origin.times().first {
            Some(_) => Ok(()),
            None => Err("no request yet".to_owned()),
        }
    })
    .await;
}
