//! Servers that turn a reader away, and one that gives it another session than it asked for.

use std::net::SocketAddr;
use std::time::Duration;

use smartstack::registry::{Registry, SessionState};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

use crate::child::{Cpu, is_child};
use crate::common::{connected, fires, fresh_node, registry, shared, wait_session, wait_state};
use crate::defects::in_runtime;
use crate::zk::{PERSISTENT, Zk};

/// In a process of its own, for the measure of its CPU time.
#[test]
fn a_server_with_too_many_connections_is_named_and_waited_for() {
    if !is_child("refusal::a_server_with_too_many_connections_is_named_and_waited_for", false) {
        return;
    }
    in_runtime(async {
        let zk = Zk::standalone_with("maxClientCnxns=2");
        let (first, _second) = (zk.client().await, zk.client().await);
        let registry = registry(&zk.connect_string(), 2);
        let mut sessions = registry.session();
        wait_session(&registry, 3, |session| session.last_error.is_some()).await;
        let cpu = Cpu::start();
        let end = Instant::now() + Duration::from_secs(5);
        // Whatever the kernel makes of a socket that is closed with our request in it: one diagnosis.
        loop {
            let session = sessions.borrow_and_update().clone();
            let text = session.last_error.unwrap();
            assert!(text.contains("accepts and closes at once"), "{text}");
            assert!(text.contains("too many connections"), "{text}");
            assert_eq!(session.state, SessionState::Connecting);
            let Ok(changed) = timeout_at(end, sessions.changed()).await else {
                break;
            };
            changed.unwrap();
        }
        println!("CPU while refused: {:.4}", cpu.share());
        assert!(cpu.share() < 0.05, "{}", cpu.share());
        drop(first);
        let freed = Instant::now();
        wait_state(&registry, SessionState::Connected, 5).await;
        println!("connected {:?} after a place was free", freed.elapsed());
        assert!(freed.elapsed() < Duration::from_secs(2), "{:?}", freed.elapsed());
        assert!(registry.watch_children("/").await.is_ok());
    });
}

/// Passes everything on but the wish for a certain session: whoever comes back gets a new one, as from a server that
/// forgets sessions without saying so (ClickHouse Keeper does).
struct Forgetful {
    addr: SocketAddr,
    cut: broadcast::Sender<()>,
}

impl Forgetful {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (cut, _) = broadcast::channel(1);
        let cuts = cut.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        // Ends when either side goes.
                        passed = forget(client, server) => drop(passed),
                        cut = cut.recv() => cut.unwrap(),
                    }
                });
            }
        });
        Self { addr, cut }
    }

    /// Breaks the connection; the next one is accepted at once.
    fn cut(&self) {
        self.cut.send(()).unwrap();
    }
}

async fn forget(mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    // Length, version, last zxid, timeout: then the session and its password.
    let mut head = [0; 28];
    client.read_exact(&mut head).await?;
    let (_, session) = head.split_at_mut(20);
    session.fill(0);
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test]
async fn another_session_than_asked_for_loses_no_change() {
    let zk = shared();
    let client = zk.client().await;
    let path = fresh_node(&client).await;
    let forgetful = Forgetful::before(zk.member(0).addr()).await;
    let registry = connected(&forgetful.addr.to_string(), 4).await;
    let mut since = registry.session().borrow().since;
    for round in 0..3 {
        let children = registry.watch_children(&path).await.unwrap();
        let data = registry.watch_data(&path).await.unwrap();
        let missing = registry.watch_data(&format!("{path}/missing{round}")).await.unwrap();
        let before = registry.session().borrow().id;
        forgetful.cut();
        let back = wait_session(&registry, 3, |session| {
            session.state == SessionState::Connected && session.since > since
        })
        .await;
        since = back.since;
        assert_ne!(before, back.id);
        // Made after the swap: the new session has the watches of the former.
        client.create(&format!("{path}/missing{round}"), b"", &PERSISTENT).await.unwrap();
        client.set_data(&path, b"new", None).await.unwrap();
        fires(children.changed, 2).await;
        fires(data.changed, 2).await;
        fires(missing.changed, 2).await;
        let names = registry.watch_children(&path).await.unwrap().value.unwrap();
        assert_eq!(names.len(), round + 1);
    }
    println!("{:?}", registry.session().borrow());
}
