//! What the tests of the data plane share.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

pub(super) use super::client::{Answer, Client, header};
use crate::endpoint::ServiceName;
use crate::lb::fixed::{FixedPool, fixed, fixed_with};
use crate::lb::snapshot::Picker;
use crate::proxy::rate::FAST;
use crate::proxy::worker::{ListenerId, WorkerSettings, Workers};
use crate::proxy::{
    BindAddr, CloseMode, ForwardFor, HttpSettings, ListenAddr, ListenerSettings, Mode,
    ProxySettings, Redispatch, Service, SocketOptions, Timeouts, listener,
};
use crate::telemetry::cells::{ErrorCause, PerWorker};

/// Longer than anything here takes on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn settings(mode: Mode) -> ProxySettings {
    ProxySettings {
        mode,
        timeouts: Timeouts::default(),
        retries: 3,
        redispatch: Redispatch::On { every: -1 },
        max_connections: None,
        max_connection_age: None,
        http: HttpSettings {
            close_mode: CloseMode::KeepAlive,
            forward_for: Some(ForwardFor {
                header: "X-Forwarded-For".into(),
                except: None,
                if_none: false,
            }),
            replay_idempotent: true,
            reuse: crate::proxy::Reuse::Safe,
            abort_on_close: false,
            ignore_probes: false,
            http2: crate::proxy::http2::Http2Settings::default(),
        },
        hash: None,
        access_log: None,
    }
}

/// A running data plane with one service.
pub(super) struct Rig {
    pub(super) workers: Option<Workers>,
    pub(super) addr: SocketAddr,
    pub(super) service: Arc<Service>,
    pub(super) pool: FixedPool,
}

pub(super) struct Setup {
    pub(super) settings: ProxySettings,
    pub(super) origins: Vec<SocketAddr>,
    pub(super) server_max: Option<u32>,
    pub(super) global_max: Option<u32>,
    pub(super) max_pipes: Option<u32>,
    pub(super) workers: usize,
    pub(super) picker: Option<Box<dyn Picker>>,
    /// Bytes that the kernel takes for a client; `None`: as many as it likes.
    pub(super) send_buffer: Option<usize>,
    /// Default: a free port.
    pub(super) listen: ListenAddr,
    /// What is said about the listening socket.
    pub(super) socket: SocketOptions,
}

impl Setup {
    pub(super) fn new(mode: Mode, origins: &[SocketAddr]) -> Self {
        Self {
            settings: settings(mode),
            origins: origins.to_vec(),
            server_max: None,
            global_max: None,
            max_pipes: None,
            workers: 1,
            picker: None,
            send_buffer: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            socket: SocketOptions::default(),
        }
    }

    pub(super) async fn start(self) -> Rig {
        let max = self.server_max.and_then(NonZeroU32::new);
        let pool = match self.picker {
            None => fixed("test", &self.origins, max, self.workers),
            Some(picker) => fixed_with("test", &self.origins, max, self.workers, picker),
        };
        let service = Arc::new(Service {
            name: ServiceName::new("test"),
            settings: arc_swap::ArcSwap::from_pointee(self.settings),
            pool: pool.handle.clone(),
            cells: PerWorker::new(self.workers),
        });
        let bind = BindAddr { options: Arc::new(self.socket), ..BindAddr::required(self.listen) };
        let settings = ListenerSettings { addrs: vec![bind], backlog: 128 };
        let sockets = listener::bind(&settings).unwrap();
        // Of a unix socket its file's path is needed, not this.
        let addr = sockets[0].addr.tcp().unwrap_or_else(nobody);
        if let Some(bytes) = self.send_buffer {
            // Accepted sockets inherit it.
            rustix::net::sockopt::set_socket_send_buffer_size(&sockets[0].socket, bytes).unwrap();
        }
        let settings = WorkerSettings {
            max_connections: self.global_max,
            max_pipes: self.max_pipes,
            gives_way: true,
            lull: Duration::from_micros(80),
            fast: FAST,
        };
        let workers = Workers::start(self.workers, settings).unwrap();
        let id = ListenerId(1);
        workers.add_listener(id, sockets, Arc::clone(&service)).await.unwrap();
        Rig { workers: Some(workers), addr, service, pool }
    }
}

impl Rig {
    pub(super) async fn http(origins: &[SocketAddr]) -> Self {
        Setup::new(Mode::Http, origins).start().await
    }

    pub(super) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.addr).await.unwrap(), Vec::new())
    }

    pub(super) fn workers(&self) -> &Workers {
        self.workers.as_ref().unwrap()
    }

    pub(super) fn errors(&self, cause: ErrorCause) -> u64 {
        self.service.cells.sum(|c| c.errors[cause as usize].get())
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.pool.backends.iter().map(|b| b.in_flight.get()).sum()
    }
}

/// Waits for a state, never for a time.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A scripted origin: `script` gets each connection with its number.
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub(super) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(usize, Client) -> R + 'static + Send,
        R: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(script(number, Client(stream, Vec::new())));
            }
        });
        Self { addr, connections, task }
    }

    /// Answers every request with `name` and the request as it came (head and body).
    pub(super) async fn echo(name: &'static str) -> Self {
        Self::start(move |_, mut conn| async move {
            while let Some(request) = conn.request().await {
                let body = format!("{name}\n{request}");
                conn.send(&format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                ))
                .await;
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}
