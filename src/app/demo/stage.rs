//! The play: backends live, die, are deregistered and come back, while a small client keeps asking.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::origin::Origin;
use super::screen::Screen;
use super::{PATH, Ports};
use crate::admin::AdminState;
use crate::registry::memory::MemoryRegistry;
use crate::registry::record::NerveRecord;

/// One step of the play.
const STEP: Duration = Duration::from_millis(500);

/// Steps between two deaths.
const ACT: usize = 10;

/// Steps from a death until "nerve" has noticed and deregistered it.
const DEREGISTERED_AFTER: usize = 2;

/// Steps from a death until it is back.
const BACK_AFTER: usize = 6;

/// Requests that the demonstration's own client sends per second.
const REQUESTS_PER_STEP: u32 = 10;

/// How long its client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Session that "owns" the registrations.
const OWNER: i64 = 1;

/// Plays until `stop`.
pub(super) async fn play(
    registry: Arc<MemoryRegistry>,
    admin: Arc<AdminState>,
    ports: Ports,
    stop: CancellationToken,
) {
    let mut screen = Screen::new(ports);
    let cast =
        ["a", "b", "c"].iter().map(|name| Origin::start(name)).collect::<std::io::Result<Vec<_>>>();
    let mut stage = match cast {
        Ok(origins) => Stage { nodes: vec![None; origins.len()], origins, registry, step: 0 },
        Err(error) => return screen.event(format!("no backend can be started: {error}")),
    };
    for index in 0..stage.origins.len() {
        stage.register(index);
    }
    let mut audience =
        Audience { addr: SocketAddr::from(([127, 0, 0, 1], ports.http)), answered: 0, failed: 0 };
    let mut clock = interval(STEP);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Some(text) = stage.advance() {
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

/// The backends and their registrations.
#[derive(Debug)]
struct Stage {
    origins: Vec<Origin>,
    /// Path of each backend's node while it is registered.
    nodes: Vec<Option<String>>,
    registry: Arc<MemoryRegistry>,
    step: usize,
}

impl Stage {
    /// One step on; tells what happened.
    fn advance(&mut self) -> Option<String> {
        self.step += 1;
        let act = self.step / ACT;
        let victim = act.checked_rem(self.origins.len())?;
        match self.step % ACT {
            0 => self.kill(victim),
            DEREGISTERED_AFTER if act > 0 => self.deregister(victim),
            BACK_AFTER if act > 0 => self.revive(victim),
            _ => None,
        }
    }

    fn kill(&mut self, index: usize) -> Option<String> {
        let origin = self.origins.get_mut(index)?;
        origin.kill();
        Some(format!("backend {} ({}) killed", origin.name, origin.addr))
    }

    fn deregister(&mut self, index: usize) -> Option<String> {
        let node = self.nodes.get_mut(index)?.take()?;
        self.registry.delete(&node);
        Some(format!("backend {} deregistered", self.origins.get(index)?.name))
    }

    fn revive(&mut self, index: usize) -> Option<String> {
        let origin = self.origins.get_mut(index)?;
        if origin.is_alive() {
            return None;
        }
        if let Err(error) = origin.revive() {
            return Some(format!("backend {} cannot come back: {error}", origin.name));
        }
        let text = format!("backend {} is back and registered", origin.name);
        self.register(index);
        Some(text)
    }

    fn register(&mut self, index: usize) {
        let (Some(origin), Some(node)) = (self.origins.get(index), self.nodes.get_mut(index))
        else {
            return;
        };
        let record = NerveRecord {
            host: origin.addr.ip().to_string(),
            port: origin.addr.port().into(),
            name: origin.name.to_string(),
            weight: None,
            haproxy_server_options: None,
            labels: None,
        };
        let prefix = format!("{PATH}/{}_", origin.name);
        *node = Some(self.registry.put_sequential(&prefix, record.encode(), OWNER));
    }
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
