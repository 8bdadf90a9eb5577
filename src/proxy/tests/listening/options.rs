//! What is said about a socket holds for those that are accepted from it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::rig::{Origin, Setup, until};
use super::{free, only};
use crate::dial::KeepAlive;
use crate::proxy::listener::{Held, Listening, bind};
use crate::proxy::{Mode, SocketOptions};

#[test]
fn accepted_sockets_inherit_what_is_said() {
    let keepalive = KeepAlive {
        idle: Some(Duration::from_secs(11)),
        interval: None,
        count: NonZeroU32::new(3),
    };
    let options = SocketOptions {
        keep_alive: Some(keepalive),
        user_timeout: Some(Duration::from_millis(1234)),
        ..SocketOptions::default()
    };
    let accepted = |listening: &Listening| {
        let addr = listening.addr.tcp().unwrap();
        let client = std::net::TcpStream::connect(addr).unwrap();
        listening.socket.set_nonblocking(false).unwrap();
        (listening.socket.accept().unwrap().0, client)
    };
    let plain = bind(&only(free(), SocketOptions::default())).unwrap().remove(0);
    let (stream, _client) = accepted(&plain);
    let fresh = socket2::SockRef::from(&stream);
    assert!(stream.nodelay().unwrap() && !fresh.keepalive().unwrap());
    assert_eq!(fresh.tcp_user_timeout().unwrap(), None);
    let usual = fresh.tcp_keepalive_time().unwrap();
    let told = bind(&only(free(), options)).unwrap().remove(0);
    let (stream, _client) = accepted(&told);
    let socket = socket2::SockRef::from(&stream);
    assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(11));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1234)));
    // The next configuration says nothing of it, and then half of it.
    let addr = told.addr.clone();
    let mut held = Held::default();
    held.add(told);
    let mut told = held.take(&only(addr.clone(), SocketOptions::default())).unwrap().remove(0);
    told.settle().unwrap();
    let (stream, _client) = accepted(&told);
    let socket = socket2::SockRef::from(&stream);
    assert!(!socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    let half = SocketOptions { keep_alive: Some(KeepAlive::default()), ..SocketOptions::default() };
    held.add(told);
    let mut told = held.take(&only(addr, half)).unwrap().remove(0);
    told.settle().unwrap();
    let (stream, _client) = accepted(&told);
    assert_eq!(socket2::SockRef::from(&stream).tcp_keepalive_time().unwrap(), usual);
}

#[tokio::test]
async fn maxconn_of_a_socket_holds_back_those_beyond_it() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.socket.max_connections = Some(2);
    setup.workers = 2;
    let rig = setup.start().await;
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    assert_eq!((one.get("/1").await.status, two.get("/2").await.status), (200, 200));
    let mut three = rig.client().await;
    three.send("GET /3 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let refused = || rig.service.cells.sum(|c| c.connections_refused.get());
    until("held back", || refused() > 0).await;
    assert_eq!(rig.workers().open_connections(), 2);
    drop(one);
    assert_eq!(three.answer().await.status, 200);
}
