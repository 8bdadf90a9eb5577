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
use crate::admin::nerve::NerveSite;
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

/// On the admin address, as soon as it is free.
async fn answer_on(
    addr: SocketAddr,
    mut bound: io::Result<TcpListener>,
    site: Arc<NerveSite>,
    stop: CancellationToken,
) {
    let mut is_told = false;
    loop {
        let listener = bound.and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        match listener {
            Ok(listener) => return server::serve(listener, site, stop).await,
            Err(error) if !is_told => {
                tracing::warn!(%addr, %error, "the admin address is not free; it is tried again");
                is_told = true;
            }
            Err(_) => {}
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
