//! Servers that behave as told, for the tests of the probes.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{LocalCheck, LocalProbe, ProbeResult, Target};

/// Total deadline of the probes in tests. Long enough for a busy machine; who hangs makes the test wait for it.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a scripted server does with each connection once it was asked something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behaviour {
    /// Says nothing and stays.
    Hang,
    /// Closes.
    Close,
    /// Says this and closes.
    Say(&'static [u8]),
    /// Says this, a byte at a time, and closes.
    Drip(&'static [u8]),
    /// Says this, then a byte at a time without an end.
    Endless(&'static [u8]),
}

/// A server on a free port of 127.0.0.1.
pub(super) async fn scripted(behaviour: Behaviour) -> Target {
    recorded(behaviour).await.0
}

/// A scripted server and what it was asked, one message a connection.
pub(super) async fn recorded(behaviour: Behaviour) -> (Target, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, behaviour, said.clone()));
        }
    });
    (Target { host: "127.0.0.1".into(), port }, asked)
}

async fn play(mut stream: TcpStream, behaviour: Behaviour, said: mpsc::UnboundedSender<String>) {
    let mut question = vec![0; 4096];
    let Ok(length) = stream.read(&mut question).await else {
        return;
    };
    // Most tests do not look.
    said.send(String::from_utf8_lossy(&question[..length]).into_owned()).ok();
    match behaviour {
        Behaviour::Hang => {}
        Behaviour::Close => drop(stream.shutdown().await),
        Behaviour::Say(text) => {
            drop(stream.write_all(text).await);
            drop(stream.shutdown().await);
        }
        Behaviour::Drip(text) => {
            drip(&mut stream, text).await;
            drop(stream.shutdown().await);
        }
        Behaviour::Endless(text) => {
            drop(stream.write_all(text).await);
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
    // Until the other side goes: closing now would reset what it has not read.
    while matches!(stream.read(&mut question).await, Ok(length) if length > 0) {}
}

async fn drip(stream: &mut TcpStream, text: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in text {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// A port of 127.0.0.1 on which nobody listens.
pub(super) async fn closed() -> Target {
    Target { host: "127.0.0.1".into(), port: free() }
}

/// A port that is free now.
pub(super) fn free() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(super) fn soon() -> Instant {
    Instant::now() + DEADLINE
}

/// A check with `rise 1 fall 1` and the deadline of tests.
pub(super) fn check(probe: LocalProbe) -> LocalCheck {
    LocalCheck {
        name: "test".into(),
        probe,
        deadline: DEADLINE,
        rise: NonZeroU32::MIN,
        fall: NonZeroU32::MIN,
    }
}

/// One probe with the deadline of tests, which it must keep.
pub(super) async fn probe_now(probe: LocalProbe) -> ProbeResult {
    let deadline = soon();
    let result = super::probe(&check(probe), deadline).await;
    assert!(Instant::now() < deadline + DEADLINE, "the deadline was not kept");
    result
}
