//! Clients of HTTP/1 whose sockets the reactor does not take when they are first to be waited for: our own failure.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::logged::Logged;
use super::relay::{local, pair};
use super::rests::occupy;
use super::rig::{Client, Origin, Setup};
use crate::proxy::accept::Accepted;
use crate::proxy::door::DoorId;
use crate::proxy::local::Local;
use crate::proxy::peer::{Entrance, Peer};
use crate::proxy::shared::Listener;
use crate::proxy::slot::Slot;
use crate::proxy::{Mode, Reuse, http};
use crate::telemetry::cells::ErrorCause;

/// A worker that this thread plays, so that the test shares its reactor.
struct Played {
    logged: Logged,
    local: Rc<Local>,
    listener: Arc<Listener>,
}

impl Played {
    async fn new(origin: &Origin) -> Self {
        let mut setup = Setup::new(Mode::Http, &[origin.addr]);
        setup.settings.http.reuse = Reuse::Always;
        let logged = Logged::new(setup).await;
        let listener = Arc::new(Listener::new(Arc::clone(&logged.rig.service), Vec::new()));
        Self { logged, local: local(8), listener }
    }

    /// Serves a client to its end; if deadlines are to come, with the thread's wheel turning.
    async fn serve(&self, stream: std::net::TcpStream, is_turning: bool) {
        let shared = &self.local.shared;
        assert!(shared.gate.try_enter(None) && self.listener.gate.try_enter(None));
        let slot = Slot::take(shared, (&self.listener, DoorId(0)), self.local.worker);
        let entrance = Entrance::from(DoorId(0));
        let accepted = Accepted { stream, peer: Peer::UNIX, entrance, slot };
        let turning = async {
            loop {
                self.local.wheel.borrow_mut().turn(self.local.clock.tick(), Waker::noop());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = http::serve(Rc::clone(&self.local), accepted) => {}
            () = turning, if is_turning => {}
        }
    }

    /// Serves one that is watched, so that a connection to the backend waits for the next.
    async fn prime(&self) {
        let (client, ours) = pair(0).await;
        let mut client = Client(client, Vec::new());
        let script = async move { client.get("/prime").await.status };
        let ((), status) = tokio::join!(self.serve(ours.into_std().unwrap(), true), script);
        assert_eq!(status, 200);
    }

    /// Serves one that says `words` and cannot be watched. What it has got, and what is logged.
    async fn refuse(&self, words: &str) -> (String, Vec<String>) {
        let (mut client, ours) = pair(0).await;
        client.write_all(words.as_bytes()).await.unwrap();
        came(&ours, words.len()).await;
        let ours = ours.into_std().unwrap();
        let occupied = occupy(ours.as_raw_fd());
        let before = self.logged.seen().len();
        let mut got = Vec::new();
        // A close with unread bytes is a reset.
        // A look at a client that waits would have it watched: only where that is to be seen.
        let is_turning = words.contains("/late");
        let served = self.serve(ours, is_turning);
        let (_end, ()) = tokio::join!(client.read_to_end(&mut got), served);
        drop(occupied);
        let logged = self.logged.seen().split_off(before);
        (String::from_utf8(got).unwrap(), logged.iter().map(|line| untimed(line)).collect())
    }

    /// How often each was to blame: we, the client, the backend.
    fn blamed(&self) -> [u64; 3] {
        let errors = |cause| self.logged.rig.errors(cause);
        let client = [ErrorCause::ClientAbort, ErrorCause::ClientTimeout].map(errors);
        let backend = [ErrorCause::Backend, ErrorCause::BackendTimeout].map(errors);
        [errors(ErrorCause::Resource), client.iter().sum(), backend.iter().sum()]
    }
}

/// A line without its timers and all behind the status.
fn untimed(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    [words[0], words[2], words[4]].join(" ")
}

/// Returns when `count` bytes wait.
async fn came(socket: &TcpStream, count: usize) {
    let mut seen = vec![0; count];
    while count > 0 && socket.peek(&mut seen).await.unwrap() < count {
        tokio::task::yield_now().await;
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")
}

/// `/late` is never answered, `/long` with more than is copied, `/switch` with another protocol.
async fn origin() -> Origin {
    Origin::start(|_, mut conn| async move {
        while let Some(request) = conn.request().await {
            let path = request.split(' ').nth(1).unwrap();
            match path {
                "/late" => std::future::pending().await,
                "/switch" => {
                    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n";
                    conn.send(&format!("{head}upgrade: x\r\n\r\n")).await;
                }
                _ => {
                    let len = if path == "/long" { 20_000 } else { 2 };
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
                    conn.send(&format!("{head}{}", "x".repeat(len))).await;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_cannot_be_watched_has_done_nothing_wrong() {
    let origin = origin().await;
    let upgrade = "GET /switch HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let post = "POST /post HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nsome";
    for (words, is_primed, lines) in [
        // While its request is awaited: nothing has come, a part has.
        ("", false, &["none RR 500"][..]),
        ("GET / HT", false, &["none RR 500"]),
        // While a backend is connected to.
        (&get("/"), false, &["none RC -"]),
        // While its answer is written, and is awaited.
        (&get("/long"), true, &["test RD 200"]),
        (&get("/late"), true, &["test RH -"]),
        // While the rest of its body is awaited.
        (post, true, &["test RD -"]),
        // Between two requests.
        (&get("/"), true, &["test -- 200"]),
        // When it becomes a tunnel.
        (upgrade, true, &["test RD 101"]),
    ] {
        let played = Played::new(&origin).await;
        if is_primed {
            played.prime().await;
        }
        let (got, logged) = played.refuse(words).await;
        assert_eq!(logged, lines, "{words:?} {got:?}");
        assert_eq!(played.blamed(), [1, 0, 0], "{words:?}");
    }
}
