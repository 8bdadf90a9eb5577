//! The pool task on the paused clock, with scripted discovery, checks and names.

mod ending;
mod health;
mod known;
mod messages;
mod serving;
mod source;
mod walk;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Mutex;

use super::*;
use crate::dial::Address;
use crate::discovery::names::NameSettings;
use crate::discovery::{Membership, MembershipPolicy};
use crate::endpoint::{Endpoint, EndpointSet, Weight};
use crate::health::Health;
use crate::health::testing::{Answer, Script, settings as check};
use crate::lb::ending::Removal;
use crate::lb::handle::BackendView;
use crate::lb::lease::Lease;
use crate::lb::{
    BackendOrder, OutcomeKind, PickContext, PickError, ServerRules, ServerSettings, Strategy,
};

/// The server line is written in the registration's options: `weight=2 backup disabled maxconn=3 check`.
#[derive(Debug)]
struct Words;

impl ServerRules for Words {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut line = ServerSettings::default();
        for word in endpoint.server_options.as_deref().unwrap_or("").split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("weight", n) => line.weight = Weight::saturating(n.parse().unwrap()),
                ("maxconn", n) => line.max_connections = NonZeroU32::new(n.parse().unwrap()),
                ("fall", n) => line.check = Some(check(2, n.parse().unwrap())),
                ("slowstart", n) => {
                    line.slow_start = Some(Duration::from_secs(n.parse().unwrap()));
                }
                ("check", _) => line.check = Some(check(2, 3)),
                ("kill", _) => line.shutdown_sessions = true,
                ("backup", _) => line.backup = true,
                ("disabled", _) => line.disabled = true,
                other => panic!("unknown word {other:?}"),
            }
        }
        line
    }
}

/// Answers of DNS as a test says.
type Zone = Arc<Mutex<HashMap<String, IpAddr>>>;

fn resolver(zone: &Zone) -> NameCache {
    let zone = Arc::clone(zone);
    NameCache::with_lookup(
        NameSettings::default(),
        Arc::new(move |name| {
            let found = zone.lock().unwrap().get(&*name).copied();
            Box::pin(async move {
                found.map(|ip| vec![ip]).ok_or_else(|| std::io::Error::other("no such name"))
            })
        }),
    )
}

/// A running pool and everything around it.
struct Bench {
    handle: PoolHandle,
    word: watch::Sender<Discovered>,
    commands: mpsc::Sender<PoolCommand>,
    zone: Zone,
    script: Script,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(strategy: Strategy) -> PoolSettings {
    PoolSettings {
        strategy,
        order: BackendOrder::AsDiscovered,
        membership: MembershipPolicy { use_previous_backends: true, ..MembershipPolicy::default() },
        servers: Arc::new(Words),
        removal: Removal::default(),
        states: None,
        all_backups: false,
    }
}

fn start(settings: PoolSettings) -> Bench {
    let (word, discovered) = watch::channel(Discovered::default());
    let (commands, inbox) = mpsc::channel(8);
    let (script, stop) = (Script::default(), CancellationToken::new());
    let zone = Zone::default();
    let names = resolver(&zone);
    tokio::spawn(names.clone().run(stop.clone()));
    let inputs =
        PoolInputs { discovered, names, commands: inbox, checks: script.runner(16), initial: None };
    let (handle, pool) = Pool::new(ServiceName::new("search"), settings, 2, inputs);
    tokio::spawn(pool.run(stop.clone()));
    Bench { handle, word, commands, zone, script, stop }
}

/// `host` is `127.0.0.N` for `N`, else a name.
fn endpoint(host: &str, options: &str) -> Endpoint {
    let host = host.parse::<u8>().map_or_else(|_| host.to_owned(), |n| format!("127.0.0.{n}"));
    Endpoint { server_options: Some(options.into()), ..Endpoint::new(host, 80) }
}

fn addr(n: u8) -> Address {
    SocketAddr::from(([127, 0, 0, n], 80)).into()
}

fn hosts(handle: &PoolHandle) -> Vec<String> {
    handle.snapshot().members.iter().map(|m| m.addr.inet().unwrap().ip().to_string()).collect()
}

impl Bench {
    fn say(&self, endpoints: &[(&str, &str)]) {
        let set: EndpointSet = endpoints.iter().map(|(h, o)| endpoint(h, o)).collect();
        self.word.send_replace(Discovered {
            membership: Membership::Known(set),
            ..Discovered::default()
        });
    }

    /// Says it and waits until the pool has taken it.
    async fn with(&self, endpoints: &[(&str, &str)]) {
        self.say(endpoints);
        let wanted: Vec<_> = endpoints.iter().map(|(h, o)| endpoint(h, o)).collect();
        let seen = |view: &PoolView| match &view.discovered.membership {
            Membership::Known(set) => set.as_slice() == wanted,
            Membership::Pending | Membership::Missing => false,
        };
        assert!(self.handle.until(seen).await);
    }

    fn view(&self, n: u8) -> BackendView {
        let view = self.handle.view();
        view.backends
            .iter()
            .find(|b| b.addr == Some(addr(n)))
            .map(|b| BackendView::clone(b))
            .unwrap()
    }

    async fn until_health(&self, n: u8, health: Health) {
        let is = |b: &Arc<BackendView>| b.addr == Some(addr(n)) && b.health == health;
        assert!(self.handle.until(|view| view.backends.iter().any(is)).await);
    }

    fn acquire(&self) -> Result<Lease, PickError> {
        self.handle.acquire(PickContext::default())
    }

    fn refuse(&self, n: u8) {
        let backend = self.view(n).backend.id;
        self.handle.report(Outcome { backend, addr: addr(n), kind: OutcomeKind::Refused });
    }

    async fn command(&self, settings: PoolSettings) {
        let mut views = self.handle.views.clone();
        views.mark_unchanged();
        self.commands.send(PoolCommand::Settings(Box::new(settings))).await.unwrap();
        views.changed().await.unwrap();
    }
}
