//! A scripted desk and a nerve around it, for tests of the pages and of the command line.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, DeskError, DownRequest, ProcessStatus, ServiceStatus};
use super::{NerveSite, SOCKET_MODE};
use crate::admin::{About, server};
use crate::config::Complaint;
use crate::endpoint::ServiceName;
use crate::health::{BoxFuture, ProbeError, ProbePass};
use crate::registration::view::{CheckView, DownMark, WatchView};
use crate::registration::{Phase, Place, Registration, Wanted, ZooKeeperPlace};
use crate::registry::writer::NodeKind;
use crate::registry::{Session, SessionState};
use crate::telemetry::cold::ColdMetrics;

/// A moment that does not move: 2026-01-01.
pub(crate) fn then() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

pub(crate) fn session() -> Session {
    Session {
        state: SessionState::Connected,
        generation: 2,
        since: Instant::now(),
        id: Some(0x1000_0001_0002_0003),
        negotiated_timeout: Some(Duration::from_secs(30)),
        last_error: None,
    }
}

/// A service that is up and registered.
pub(crate) fn up(name: &str) -> ServiceStatus {
    let check = CheckView {
        name: format!("http-10.0.0.1:80/health {name}").into(),
        is_up: Some(true),
        last: Some(Ok(ProbePass { code: "L7OK", status: Some(200) })),
        took: Duration::from_millis(2),
        at: Some(then()),
    };
    ServiceStatus {
        name: ServiceName::new(name),
        watch: WatchView {
            is_up: Some(true),
            since: Some(then()),
            checks: vec![check],
            passes: 12,
            failed_passes: 2,
            transitions: 1,
            wanted: Wanted::Present,
            reason: "checks pass".into(),
            ..WatchView::default()
        },
        registration: Registration {
            phase: Phase::Registered,
            node: Some(format!("/nerve/services/{name}/i-1_0000000007").into()),
            owner: Some(0x1000_0001_0002_0003),
            trouble: None,
            since: then(),
            writes: 3,
        },
        place: Place::ZooKeeper(ZooKeeperPlace {
            ensemble: "zk1:2181,zk2:2181".into(),
            path: format!("/nerve/services/{name}").into(),
            kind: NodeKind::EphemeralSequential,
            is_path_encoded: false,
            ttl: None,
        }),
        session: Some(session()),
        pushed_until: None,
    }
}

/// A service that is down and not registered, with a flap penalty.
pub(crate) fn down(name: &str) -> ServiceStatus {
    let mut service = up(name);
    let watch = &mut service.watch;
    watch.is_up = Some(false);
    watch.wanted = Wanted::Absent;
    watch.penalty = 1.25;
    watch.throttled = 4;
    watch.reason = "http-10.0.0.1:80/health: L7STS: status 503".into();
    watch.checks[0].is_up = Some(false);
    watch.checks[0].last = Some(Err(ProbeError {
        code: "L7STS",
        status: Some(503),
        detail: String::from("status 503"),
        info: String::new(),
    }));
    service.registration.phase = Phase::Absent;
    service.registration.node = None;
    service.registration.owner = None;
    service
}

/// A service that nobody has looked at.
pub(crate) fn unheard(name: &str) -> ServiceStatus {
    let mut service = up(name);
    service.watch = WatchView { reason: "no pass has ended yet".into(), ..WatchView::default() };
    service.registration = Registration { since: then(), ..Registration::default() };
    service
}

/// Does what it is told at once, unless it hangs.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) services: Mutex<Vec<ServiceStatus>>,
    pub(crate) missing: Mutex<Vec<String>>,
    /// What was ordered, one line each.
    pub(crate) orders: watch::Sender<Vec<String>>,
    /// The registry does not answer.
    pub(crate) hangs: watch::Sender<bool>,
    about: About,
}

impl Script {
    pub(crate) fn new(services: Vec<ServiceStatus>) -> Arc<Self> {
        Arc::new(Self {
            services: Mutex::new(services),
            missing: Mutex::default(),
            orders: watch::Sender::default(),
            hangs: watch::Sender::new(false),
            about: About::now(0),
        })
    }

    pub(crate) fn orders(&self) -> Vec<String> {
        self.orders.borrow().clone()
    }

    fn order(&self, order: String) {
        self.orders.send_modify(|orders| orders.push(order));
    }

    async fn acknowledged(&self) {
        self.hangs.subscribe().wait_for(|hangs| !hangs).await.unwrap();
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut ServiceStatus),
    ) -> Result<ServiceStatus, DeskError> {
        let mut services = self.services.lock().unwrap();
        let found = services.iter_mut().find(|s| s.name.as_str() == name);
        let service = found.ok_or_else(|| DeskError::Unknown(name.to_owned()))?;
        change(service);
        Ok(service.clone())
    }
}

impl Desk for Script {
    fn services(&self) -> Vec<ServiceStatus> {
        self.services.lock().unwrap().clone()
    }

    fn process(&self) -> ProcessStatus {
        ProcessStatus {
            about: self.about.clone(),
            instance_id: String::from("i-1"),
            state_dir: Some("/var/lib/nerve".into()),
            sessions: vec![("zk1:2181,zk2:2181".into(), session())],
            refused: vec![String::from("services.old: etcd is not supported")],
            warnings: vec![String::from("services.a.chekcs: unknown key")],
            config_on_disk_differs: false,
            missing: self.missing.lock().unwrap().clone(),
        }
    }

    fn down<'a>(
        &'a self,
        service: &'a str,
        request: DownRequest,
    ) -> BoxFuture<'a, Result<ServiceStatus, DeskError>> {
        self.order(format!("down {service} {:?} {}", request.lasting, request.reason));
        Box::pin(async move {
            self.acknowledged().await;
            self.change(service, |service| {
                *service = ServiceStatus {
                    watch: service.watch.clone(),
                    ..down(&service.name.to_string())
                };
                let watch = &mut service.watch;
                watch.wanted = Wanted::Absent;
                watch.reason = format!("down by an operator: {}", request.reason).into();
                let until = request.lasting.map(|lasting| then() + lasting);
                watch.down = Some(DownMark { reason: request.reason, since: then(), until });
            })
        })
    }

    fn up<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<ServiceStatus, DeskError>> {
        self.order(format!("up {service}"));
        Box::pin(async move {
            self.acknowledged().await;
            self.change(service, |service| *service = up(&service.name.to_string()))
        })
    }

    fn put<'a>(
        &'a self,
        service: &'a str,
        definition: Value,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<ServiceStatus, DeskError>> {
        self.order(format!("put {service} {ttl:?} {definition}"));
        Box::pin(async move {
            if definition.get("port").is_none() {
                let complaint = |path: &str, text: &str| Complaint {
                    file: "request".into(),
                    path: path.to_owned(),
                    text: text.to_owned(),
                };
                return Err(DeskError::Refused(vec![
                    complaint("port", "is missing"),
                    complaint("zk_path", "is missing"),
                ]));
            }
            let mut status = up(service);
            status.pushed_until = Some(then() + ttl);
            let mut services = self.services.lock().unwrap();
            services.retain(|s| s.name.as_str() != service);
            services.push(status.clone());
            Ok(status)
        })
    }

    fn delete<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<(), DeskError>> {
        self.order(format!("delete {service}"));
        Box::pin(async move {
            let found = self.change(service, |_| ())?;
            if found.pushed_until.is_none() {
                let text = format!("service {service:?} stands in the file: remove it there");
                return Err(DeskError::Conflict(text));
            }
            self.services.lock().unwrap().retain(|s| s.name.as_str() != service);
            Ok(())
        })
    }
}

/// A running server. Dropping it leaves its tasks to the test's runtime.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

/// Answers on the unix socket at `path`.
pub(crate) fn on_unix(script: &Arc<Script>, path: &Path) -> Running {
    let listener = UnixListener::bind(path).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(SOCKET_MODE);
    std::fs::set_permissions(path, mode).unwrap();
    run(script, listener, false)
}

/// Answers on loopback; commands too, with `push`.
pub(crate) async fn on_tcp(script: &Arc<Script>, push: bool) -> (Running, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (run(script, listener, push), addr)
}

fn run(script: &Arc<Script>, listener: impl server::Listen, push: bool) -> Running {
    let desk: Arc<dyn Desk> = Arc::<Script>::clone(script);
    let site = Arc::new(NerveSite::new(desk, push, ColdMetrics::disconnected()));
    let stop = CancellationToken::new();
    let task = tokio::spawn(server::serve(listener, site, stop.clone()));
    Running { stop, task }
}

/// A fresh directory of this test that everybody may enter.
pub(crate) fn directory(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("nerve-{name}-{}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// The one block of `docs/nerve.md` whose info string is `kind`.
pub(crate) fn documented(kind: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nerve.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, block) = text.split_once(&format!("```{kind}\n")).expect("a block of that kind");
    block.split_once("```").expect("its end").0.to_owned()
}
