//! Kinds of listening sockets, and what is said about one of them.

mod kept;
mod options;
mod unix;

use std::path::PathBuf;
use std::sync::Arc;

use crate::proxy::{BindAddr, ListenAddr, ListenerSettings, SocketOptions};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("inb-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn addr(&self, name: &str) -> ListenAddr {
        ListenAddr::Unix(self.path(name).into())
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn only(addr: ListenAddr, options: SocketOptions) -> ListenerSettings {
    let bind = BindAddr { options: Arc::new(options), ..BindAddr::required(addr) };
    ListenerSettings { addrs: vec![bind], backlog: 16 }
}

fn free() -> ListenAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()
}
