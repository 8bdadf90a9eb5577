//! The play: backends live, die and come back, their nerves deregister and register them, and a small client keeps asking.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ports;
use super::origin::Origin;
use super::screen::Screen;
use crate::admin::AdminState;
use crate::app::nerve::running::{Beginning, Household, Running};
use crate::app::nerve::slot::Alone;
use crate::config::nerve::{self, NerveService, ServiceDefaults};
use crate::health::local::LocalRunner;
use crate::registration::{Phase, claimant};
use crate::registry::memory::MemoryRegistry;
use crate::registry::writer::RegistryWriter;

/// One step of the play.
const STEP: Duration = Duration::from_millis(500);

/// Steps between two deaths.
const ACT: usize = 10;

/// Steps from a death until it is back.
const BACK_AFTER: usize = 6;

/// Requests that the demonstration's own client sends per second.
const REQUESTS_PER_STEP: u32 = 10;

/// How long its client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Plays until `stop`.
pub(super) async fn play(
    registry: Arc<MemoryRegistry>,
    admin: Arc<AdminState>,
    ports: Ports,
    stop: CancellationToken,
) {
    let mut screen = Screen::new(ports);
    let mut stage = match Stage::set(&registry) {
        Ok(stage) => stage,
        Err(error) => return screen.event(error),
    };
    let mut audience =
        Audience { addr: SocketAddr::from(([127, 0, 0, 1], ports.http)), answered: 0, failed: 0 };
    let mut clock = interval(STEP);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            () = stop.cancelled() => return,
        }
        for text in stage.advance() {
            screen.event(text);
        }
        if admin.readiness.is_ready()
            && admin.services.load().iter().all(|entry| entry.service.pool.eligible() > 0)
        {
            audience.ask().await;
        }
        screen.draw(&admin, &audience.score());
    }
}

/// The backends, and the nerve of each.
#[derive(Debug)]
struct Stage {
    origins: Vec<Origin>,
    /// Watcher and registrar of each backend: what `nerve` runs beside a service.
    nerves: Vec<Running>,
    /// What the registry said of each when it was last looked at.
    registered: Vec<bool>,
    step: usize,
}

impl Stage {
    fn set(registry: &MemoryRegistry) -> Result<Self, String> {
        let names = ["a", "b", "c"];
        let origins = names.iter().map(|name| Origin::start(name));
        let origins: Vec<_> = origins
            .collect::<std::io::Result<_>>()
            .map_err(|error| format!("no backend can be started: {error}"))?;
        // One nerve has one session; here all three hosts are one process.
        let session: Arc<dyn RegistryWriter> = Arc::new(registry.another());
        let household = Household {
            kin: Arc::new(Alone::default()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            checks: LocalRunner::default(),
        };
        let nerves = origins.iter().map(|origin| {
            let service = service_of(origin)?;
            let claimant = claimant(&service.registration, &household.kin);
            let registry = Some(Arc::clone(&session));
            let with = Beginning { mark: None, registry, claimant, former: None };
            Ok(Running::start(service, with, &household))
        });
        let nerves: Vec<_> = nerves.collect::<Result<_, String>>()?;
        Ok(Self { registered: vec![false; origins.len()], origins, nerves, step: 0 })
    }

    /// One step on; tells what happened.
    fn advance(&mut self) -> Vec<String> {
        self.step += 1;
        let act = self.step / ACT;
        let victim = act.checked_rem(self.origins.len()).unwrap_or(0);
        let done = match self.step % ACT {
            0 => self.kill(victim),
            BACK_AFTER if act > 0 => self.revive(victim),
            _ => None,
        };
        done.into_iter().chain(self.news()).collect()
    }

    fn kill(&mut self, index: usize) -> Option<String> {
        let origin = self.origins.get_mut(index)?;
        origin.kill();
        Some(format!("backend {} ({}) killed", origin.name, origin.addr))
    }

    fn revive(&mut self, index: usize) -> Option<String> {
        let origin = self.origins.get_mut(index)?;
        if origin.is_alive() {
            return None;
        }
        if let Err(error) = origin.revive() {
            return Some(format!("backend {} cannot come back: {error}", origin.name));
        }
        Some(format!("backend {} is back", origin.name))
    }

    /// What the nerves did since the last look.
    fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for (nerve, was) in self.nerves.iter().zip(&mut self.registered) {
            let shown = nerve.shown();
            let is = match shown.registration.borrow().phase {
                Phase::Registered => true,
                Phase::Absent => false,
                Phase::Unknown | Phase::Unconfirmed | Phase::Changing | Phase::Blocked => *was,
            };
            if is != *was {
                let reason = Arc::clone(&shown.view.borrow().reason);
                let what = if is { "registered it" } else { "deregistered it" };
                news.push(format!("nerve of {} {what}: {reason}", shown.name));
            }
            *was = is;
        }
        news
    }
}

/// A backend as its host's nerve has it configured; read as a file would be.
fn service_of(origin: &Origin) -> Result<NerveService, String> {
    let definition = json!({
        "host": origin.addr.ip().to_string(), "port": origin.addr.port(),
        "zk_hosts": [super::ENSEMBLE], "zk_path": super::PATH, "check_interval": 0.5,
        "checks": [{"type": "http", "uri": "/health", "timeout": 0.5}],
        // The play kills for ever: nobody is to be held back for it.
        "flap_damping": false,
    });
    let (name, defaults) = (origin.name.as_ref(), ServiceDefaults::default());
    let services = nerve::service(name, &definition, name, &defaults, false);
    let services = services.map_err(|report| {
        let complaints: Vec<_> = report.complaints.iter().map(ToString::to_string).collect();
        complaints.join("; ")
    })?;
    services.into_iter().next().ok_or_else(|| "no service".to_owned())
}

/// A client that keeps asking, a connection per request.
#[derive(Debug)]
struct Audience {
    addr: SocketAddr,
    answered: u64,
    failed: u64,
}

impl Audience {
    async fn ask(&mut self) {
        for _ in 0..REQUESTS_PER_STEP {
            match timeout(CLIENT_TIMEOUT, request(self.addr)).await {
                Ok(Ok(true)) => self.answered += 1,
                Ok(Ok(false) | Err(_)) | Err(_) => self.failed += 1,
            }
        }
    }

    fn score(&self) -> String {
        format!("own client: {} requests answered, {} failed", self.answered, self.failed)
    }
}

/// True for a 200.
async fn request(addr: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}
