//! Where nerve's pages are reached: the admin address, and a unix socket in its slot.
//!
//! The admin address may be taken: by another nerve with the same configuration that is about to end, for example. That
//! is no reason not to register anything, so it is tried again until it is free.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::slot::Slot;
use super::socket::{self, SOCKET};
use crate::admin::nerve::{AdminAddress, NerveSite};
use crate::admin::server;

/// Between two attempts at an address that is taken.
const RETRY: Duration = Duration::from_millis(500);

/// What open connections get to finish.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// The listeners of a running nerve.
#[derive(Debug)]
pub(super) struct Doors {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// `STATE_DIR/nerve.sock` and the socket that it leads to.
    link: Option<(PathBuf, PathBuf)>,
}

impl Doors {
    /// Answers on both from now on.
    pub(super) fn open(
        site: &Arc<NerveSite>,
        (addr, admin): (SocketAddr, io::Result<TcpListener>),
        slot: Option<&Slot>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(answer_on(addr, admin, Arc::clone(site), stop.clone()));
        let link = slot.and_then(|slot| {
            let socket = slot.dir().join(SOCKET);
            match socket::bind(slot.dir()) {
                Ok(listener) => {
                    tasks.spawn(server::serve(listener, Arc::clone(site), stop.clone()));
                    link_to(slot.dir()).map(|link| (link, socket))
                }
                Err(error) => {
                    tracing::error!(socket = %socket.display(), %error, "the push API cannot be reached");
                    None
                }
            }
        });
        Self { tasks, stop, link }
    }

    /// Accepts no more; returns when what was being answered is answered.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(CLOSE_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!("a client of the admin server is cut off");
        }
        let Some((link, socket)) = self.link else {
            return;
        };
        let leads_here = std::fs::read_link(&link).is_ok_and(|target| {
            link.parent().is_some_and(|state_dir| state_dir.join(target) == socket)
        });
        for path in [Some(&socket), leads_here.then_some(&link)].into_iter().flatten() {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "stays behind");
            }
        }
    }
}

/// On the admin address, as soon as it can be bound. Why not is told, again whenever that changes.
async fn answer_on(
    addr: SocketAddr,
    mut bound: io::Result<TcpListener>,
    site: Arc<NerveSite>,
    stop: CancellationToken,
) {
    let mut told = None;
    loop {
        let listener = bound.and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        match listener {
            Ok(listener) => {
                site.set_admin(AdminAddress { addr, trouble: None });
                return server::serve(listener, site, stop).await;
            }
            Err(error) => {
                let trouble = Some(error.to_string());
                if trouble != told {
                    tracing::warn!(%addr, %error, "nothing answers on the admin address; it is tried again");
                    site.set_admin(AdminAddress { addr, trouble: trouble.clone() });
                    told = trouble;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return,
        }
        bound = TcpListener::bind(addr);
    }
}

/// `STATE_DIR/nerve.sock` leads to the nerve that started last: one path for whoever writes to the socket by hand.
fn link_to(slot: &Path) -> Option<PathBuf> {
    let link = slot.parent()?.join(SOCKET);
    let target = Path::new(slot.file_name()?).join(SOCKET);
    let draft = link.with_extension(format!("new-{}", std::process::id()));
    let made =
        std::os::unix::fs::symlink(target, &draft).and_then(|()| std::fs::rename(&draft, &link));
    made.inspect_err(
        |error| tracing::warn!(link = %link.display(), %error, "no link to the socket"),
    )
    .ok()?;
    Some(link)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::admin::nerve::fixture::Script;
    use crate::telemetry::cold::ColdMetrics;

    /// The whole answer; `None` while nobody can be asked.
    async fn ready(addr: SocketAddr, host: &str) -> Option<String> {
        let mut stream = TcpStream::connect(addr).await.ok()?;
        let request = format!("GET /ready HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    #[tokio::test]
    async fn why_the_admin_address_is_silent_is_told_until_it_answers() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = other.local_addr().unwrap();
        let site = NerveSite::new(Script::new(Vec::new()), false, ColdMetrics::disconnected());
        let site = Arc::new(site);
        let beside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let beside_addr = beside.local_addr().unwrap();
        let doors = Doors::open(&site, (addr, TcpListener::bind(addr)), None);
        doors.tasks.spawn(server::serve(beside, Arc::clone(&site), doors.stop.clone()));
        let said = async |wanted: &str, addr, host| {
            while !ready(addr, host).await.is_some_and(|answer| answer.contains(wanted)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = format!("ready\nadmin address {addr}: Address already in use");
        tokio::time::timeout(Duration::from_secs(20), async {
            said(&told, beside_addr, "localhost").await;
            drop(other);
            said("\r\n\r\nready\n", addr, "localhost").await;
            said("HTTP/1.1 403", addr, "evil.example").await;
        })
        .await
        .unwrap();
        let answer = ready(beside_addr, "localhost").await.unwrap();
        assert!(!answer.contains("admin address"), "{answer}");
        doors.close().await;
    }
}
