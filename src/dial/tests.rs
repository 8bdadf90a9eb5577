//! Over real sockets; that traffic and checks go these ways is tried in `tests/it/connecting`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 5, 4, 3);

fn from(ports: Option<std::ops::RangeInclusive<u16>>) -> Way {
    Way { source: Some(Source { ip: SOURCE.into(), ports }), ..Way::default() }
}

async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr.into())
}

#[tokio::test]
async fn a_source_without_a_port_has_none_before_it_connects() {
    let (listener, to) = listen().await;
    let way = from(None);
    let stream = connect(&to, Some(&way)).await.unwrap();
    let said = stream.local_addr().unwrap();
    assert_eq!(said.ip(), SOURCE);
    assert_eq!(listener.accept().await.unwrap().1, said);
    // Else it would be taken from all connections of the source, not only those to this server.
    let socket = socket2::SockRef::from(&stream);
    assert!(
        nix::sys::socket::getsockopt(&*socket, nix::sys::socket::sockopt::IpBindAddressNoPort)
            .unwrap()
    );
}

#[tokio::test]
async fn one_port_of_a_source_serves_many_servers_and_each_once() {
    let (one, two) = (listen().await, listen().await);
    let port = {
        let free = std::net::TcpListener::bind((SOURCE, 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let way = from(Some(port..=port));
    let first = connect(&one.1, Some(&way)).await.unwrap();
    let second = connect(&two.1, Some(&way)).await.unwrap();
    for stream in [&first, &second] {
        assert_eq!(stream.local_addr().unwrap(), SocketAddr::from((SOURCE, port)));
    }
    let error = connect(&one.1, Some(&way)).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error()));
}

#[tokio::test]
async fn a_source_of_another_host_or_family_is_an_error() {
    let (listener, to) = listen().await;
    for ip in ["192.0.2.7", "::1"] {
        let source = Some(Source { ip: ip.parse().unwrap(), ports: None });
        let way = Way { source, ..Way::default() };
        assert!(is_unsettled(&connect(&to, Some(&way)).await.unwrap_err()), "{ip}");
    }
    let way = Way { device: Some(Arc::from("no-such-device")), ..Way::default() };
    assert!(is_unsettled(&connect(&to, Some(&way)).await.unwrap_err()));
    drop(listener);
    assert!(!is_unsettled(&connect(&to, Some(&from(None))).await.unwrap_err()), "refused");
}

#[tokio::test]
async fn sockets_have_what_the_way_says_and_others_have_not() {
    let (_listener, to) = listen().await;
    let keep_alive = KeepAlive {
        idle: Some(Duration::from_secs(60)),
        interval: Some(Duration::from_secs(7)),
        count: NonZeroU32::new(3),
    };
    let way = Way {
        user_timeout: Some(Duration::from_millis(2500)),
        keep_alive: Some(keep_alive),
        ..Way::default()
    };
    let stream = connect(&to, Some(&way)).await.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), way.user_timeout);
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    let stream = connect(&to, None).await.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(!socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
}

#[tokio::test]
async fn an_option_that_the_kernel_does_not_take_is_no_obstacle() {
    let (_listener, to) = listen().await;
    let idle = Some(Duration::from_secs(40_000));
    let keep_alive = Some(KeepAlive { idle, ..KeepAlive::default() });
    let way = Way { keep_alive, ..Way::default() };
    connect(&to, Some(&way)).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_read_and_written_like_any_other() {
    let dir = tempdir();
    let path = dir.join("s");
    let to = Address::Unix(path.as_path().into());
    let absent = connect(&to, None).await.unwrap_err();
    assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = connect(&to, None).await.unwrap();
    let (mut seen, _) = listener.accept().await.unwrap();
    announce(&stream, b"first ", true).unwrap();
    stream.write_all(b"second").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    seen.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "first second");
    seen.write_all(b"answer").await.unwrap();
    drop((seen, listener));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    let refused = connect(&to, None).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(stream.local_addr().is_err(), "it has no address");
    std::fs::remove_dir_all(dir).unwrap();
}

fn tempdir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("dial-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
