//! The `rabbitmq` check: a message is published to the queue `nerve` and comes back.
//!
//! The client crate gives each connection a thread of its own that lives until its socket ends, whatever became of the
//! caller. So the socket is ours: connected here, and shut down ([`Sever`]) when the check is over or dropped.

use std::io;
use std::net::Shutdown;
use std::sync::Mutex;

use async_compat::CompatExt;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Connection, ConnectionProperties, Error, ErrorKind,
    runtime,
};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{ProbeResult, Target, answered_by, connect};
use crate::health::tcp::{connect_error, failure};
use crate::health::{ProbeError, ProbePass};

/// Where the message goes and comes from: the original's.
const VHOST: &str = "/";
const QUEUE: &str = "nerve";
const MESSAGE: &[u8] = b"nerve test message";
/// A message that nobody fetches is gone after this, milliseconds: the original's.
const EXPIRATION: &str = "2000";

/// Largest frame, bytes: the smallest that RabbitMQ 4 agrees to. The client sets 32 of them aside twice; with the
/// server's 128 kB that would be 8 MB a check.
const FRAME_MAX: u32 = 8192;

/// Heartbeat, seconds. The client cannot do without and keeps a task for up to half of it after the connection has ended:
/// with the server's 60 s that would be 60 tasks of one check. A broker that is silent for twice as long fails the check.
const HEARTBEAT: u16 = 10;

pub(super) async fn probe(
    target: &Target,
    username: &str,
    password: &str,
    deadline: Instant,
) -> ProbeResult {
    let stream = connect::connect(target, deadline).await?;
    // Nothing is lost when this fails; it only ends less politely.
    SockRef::from(&stream).set_linger(None).ok();
    // Else two of the steps wait for a delayed ACK, 40 ms each: the default timeout is 100 ms.
    stream.set_nodelay(true).ok();
    let sever = Sever::new(&stream)?;
    let uri = AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: username.to_owned(), password: password.to_owned() },
            host: target.host.to_string(),
            port: target.port,
        },
        vhost: VHOST.to_owned(),
        query: AMQPQueryString {
            frame_max: Some(FRAME_MAX),
            heartbeat: Some(HEARTBEAT),
            ..AMQPQueryString::default()
        },
    };
    let opened = async { open(uri, stream).await.map_err(|error| trouble(&error)) };
    let connection = answered_by(deadline, opened).await?;
    let mut channel = None;
    let result = answered_by(deadline, round_trip(&connection, &mut channel)).await;
    // The verdict stands; a broker that does not say goodbye in time is cut off. The channel lives that long: dropped before,
    // its own goodbye would cross the connection's, and the client takes that for an error.
    timeout_at(deadline, connection.close(200, "OK".into())).await.ok();
    drop(channel);
    drop(sever);
    result
}

async fn open(uri: AMQPUri, stream: TcpStream) -> lapin::Result<Connection> {
    let stream = Mutex::new(Some(stream));
    let connect = async move |_, _| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        // One socket, one attempt.
        stream
            .map(|stream| AsyncTcpStream::Plain(stream.compat()))
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    };
    let properties = ConnectionProperties::default().with_connection_name("nerve check".into());
    Connection::connector(uri, runtime::default_runtime()?, connect, properties).await
}

async fn round_trip(connection: &Connection, channel: &mut Option<Channel>) -> ProbeResult {
    let came_back = async {
        let channel = channel.insert(connection.create_channel().await?);
        channel
            .queue_declare(QUEUE.into(), QueueDeclareOptions::default(), FieldTable::default())
            .await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_expiration(EXPIRATION.into());
        channel.basic_publish("".into(), QUEUE.into(), options, MESSAGE, properties).await?;
        let message = channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await?;
        if let Some(message) = &message {
            message.ack(BasicAckOptions::default()).await?;
        }
        Ok::<bool, Error>(message.is_some())
    };
    match came_back.await {
        Ok(true) => Ok(ProbePass { code: "L7OK", status: None }),
        Ok(false) => Err(failure("L7RSP", format!("no message came back from {QUEUE:?}"))),
        Err(error) => Err(trouble(&error)),
    }
}

/// What the broker says is `L7STS`; what is no AMQP, and what broke off, `L7RSP`.
fn trouble(error: &Error) -> ProbeError {
    if let ErrorKind::ProtocolError(said) = error.kind() {
        let text = format!("rabbitmq says {} {:?}", said.get_id(), said.get_message());
        return failure("L7STS", text);
    }
    failure("L7RSP", error.to_string())
}

/// Ends the socket under the client's thread, which ends with it.
#[derive(Debug)]
struct Sever(socket2::Socket);

impl Sever {
    fn new(stream: &TcpStream) -> Result<Self, ProbeError> {
        let socket = SockRef::from(stream).try_clone().map_err(|error| connect_error(&error))?;
        Ok(Self(socket))
    }
}

impl Drop for Sever {
    fn drop(&mut self) {
        // The only possible error is that it is closed already.
        self.0.shutdown(Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use crate::health::local::LocalProbe;
    use crate::health::local::Target;
    use crate::health::local::testing::{Behaviour, closed, probe_now, scripted};

    fn check(target: Target) -> LocalProbe {
        LocalProbe::RabbitMq {
            target,
            username: "guest".into(),
            password: String::from("guest").into(),
        }
    }

    async fn outcome(behaviour: Behaviour) -> String {
        probe_now(check(scripted(behaviour).await)).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn garbage_silence_and_early_close_fail() {
        let close = outcome(Behaviour::Close).await;
        assert!(close.starts_with("L7RSP: "), "{close}");
        let garbage = outcome(Behaviour::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
        assert!(garbage.starts_with("L7RSP: "), "{garbage}");
        // What a broker says that speaks another version only.
        let other = outcome(Behaviour::Say(b"AMQP\x00\x01\x00\x00")).await;
        assert!(other.starts_with("L7RSP: "), "{other}");
        assert_eq!(outcome(Behaviour::Hang).await, "L7TOUT: no answer in time");
        let drip = outcome(Behaviour::Endless(b"\x01\x00\x00\xff\xff\xff\xff")).await;
        assert!(drip.starts_with("L7"), "{drip}");
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let error = probe_now(check(closed().await)).await.unwrap_err();
        assert_eq!(error.code, "L4CON");
    }

    /// Threads of this process with the client's name.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("lapin"))
            .count()
    }

    #[tokio::test]
    async fn a_dropped_probe_leaves_no_thread_and_no_task() {
        let check = check(scripted(Behaviour::Hang).await);
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let before = alive();
        let check = crate::health::local::testing::check(check);
        let far = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
        let mut probing = Box::pin(super::super::probe(&check, far));
        let patience = std::time::Duration::from_secs(10);
        let until = async |what: &str, wanted: fn(usize) -> bool| {
            let end = tokio::time::Instant::now() + patience;
            while !wanted(threads()) {
                assert!(tokio::time::Instant::now() < end, "{what}: {} threads", threads());
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            result = &mut probing => panic!("it ended: {result:?}"),
            () = until("started", |count| count > 0) => {}
        }
        drop(probing);
        until("ended", |count| count == 0).await;
        let end = tokio::time::Instant::now() + patience;
        while alive() > before {
            assert!(tokio::time::Instant::now() < end, "{} tasks of {before}", alive());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
