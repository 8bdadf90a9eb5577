//! Unix sockets: clients of one, and whose its file is.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::super::rig::{Origin, PATIENCE, Rig, Setup, until};
use super::{Dir, only};
use crate::proxy::listener::{Listening, MAX_PATH_BYTES, Permissions, bind};
use crate::proxy::{ListenAddr, Mode, SocketOptions};

async fn said(mut stream: UnixStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    String::from_utf8(all).unwrap()
}

async fn on_unix(dir: &Dir, mode: Mode, origin: &Origin) -> Rig {
    let mut setup = Setup::new(mode, &[origin.addr]);
    setup.listen = dir.addr("it.sock");
    setup.start().await
}

const CLOSING: &[u8] = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_client_of_a_unix_socket_is_served_and_has_no_address() {
    let (dir, origin) = (Dir::new("http"), Origin::echo("a").await);
    let rig = on_unix(&dir, Mode::Http, &origin).await;
    let stream = UnixStream::connect(dir.path("it.sock")).await.unwrap();
    let answer = said(stream, CLOSING).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("x-forwarded-for"), "{answer}");
    until("closed", || rig.workers().open_connections() == 0).await;
    assert_eq!(dir.names(), ["it.sock"]);
    drop(rig);
}

#[tokio::test]
async fn bulk_passes_a_unix_socket_both_ways() {
    let origin = Origin::start(|_, mut conn| async move {
        let mut all = Vec::new();
        conn.0.read_to_end(&mut all).await.unwrap();
        conn.0.write_all(&all).await.unwrap();
    })
    .await;
    let dir = Dir::new("bulk");
    let _rig = on_unix(&dir, Mode::Tcp, &origin).await;
    let (mut read, mut write) =
        UnixStream::connect(dir.path("it.sock")).await.unwrap().into_split();
    let sent: Vec<u8> = (0..6_000_000_u32).map(|i| (i % 251) as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    tokio::time::timeout(PATIENCE, read.read_to_end(&mut got)).await.unwrap().unwrap();
    writing.await.unwrap();
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
}

#[test]
fn the_file_has_its_mode_replaces_a_stale_one_and_goes_at_the_end() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let dir = Dir::new("file");
    let stale = std::os::unix::net::UnixListener::bind(dir.path("a.sock")).unwrap();
    drop(stale);
    let permissions = Permissions { mode: Some(0o606), uid: Some(12), gid: Some(34) };
    let options = SocketOptions { permissions, ..SocketOptions::default() };
    let is_root = rustix::process::geteuid().is_root();
    let options = if is_root { options } else { SocketOptions::default() };
    let bound = bind(&only(dir.addr("a.sock"), options)).unwrap().remove(0);
    assert_eq!(dir.names(), ["a.sock"]);
    if is_root {
        let file = std::fs::metadata(dir.path("a.sock")).unwrap();
        assert_eq!((file.permissions().mode() & 0o777, file.uid(), file.gid()), (0o606, 12, 34));
    }
    std::os::unix::net::UnixStream::connect(dir.path("a.sock")).unwrap();
    let copy = bound.try_clone().unwrap();
    drop(bound);
    assert_eq!(dir.names(), ["a.sock"], "somebody still listens");
    drop(copy);
    assert!(dir.names().is_empty());
}

#[test]
fn a_file_that_somebody_has_replaced_is_left_alone() {
    let dir = Dir::new("replaced");
    let first = bind(&only(dir.addr("a.sock"), SocketOptions::default())).unwrap();
    let second = bind(&only(dir.addr("a.sock"), SocketOptions::default())).unwrap();
    drop(first);
    assert_eq!(dir.names(), ["a.sock"]);
    second[0].own_file(false);
    drop(second);
    assert_eq!(dir.names(), ["a.sock"], "a successor has it");
}

#[test]
fn a_file_is_removed_by_whom_it_belongs_to() {
    let dir = Dir::new("adopted");
    let path = dir.path("a.sock");
    let adopt = |is_foreign| {
        let socket = bind(&only(dir.addr("a.sock"), SocketOptions::default())).unwrap().remove(0);
        let copy = socket.socket.try_clone().unwrap();
        socket.own_file(false);
        // It has been renamed: the kernel knows the former name.
        Listening::adopted(copy, Some(dir.addr("a.sock")), is_foreign).unwrap()
    };
    drop(adopt(false));
    assert!(path.exists(), "of a process that still runs");
    let taken_over = adopt(false);
    taken_over.own_file(true);
    drop(taken_over);
    assert!(!path.exists());
    let systemds = adopt(true);
    systemds.own_file(true);
    assert!(systemds.is_foreign());
    drop(systemds);
    assert!(path.exists(), "systemd's");
}

#[test]
fn what_cannot_be_bound_says_why() {
    let dir = Dir::new("refused");
    std::fs::write(dir.path("file"), "precious").unwrap();
    let refused = |name: &str| {
        let bound = bind(&only(dir.addr(name), SocketOptions::default()));
        bound.unwrap_err().to_string().replace(dir.0.to_str().unwrap(), "DIR")
    };
    assert_eq!(refused("file"), "DIR/file: a file that is not a socket is in its place");
    assert_eq!(refused("none/x"), "DIR/none/x: its directory does not exist");
    assert_eq!(std::fs::read_to_string(dir.path("file")).unwrap(), "precious");
    let long = "x".repeat(MAX_PATH_BYTES - dir.0.as_os_str().len() - 1);
    let bound = bind(&only(dir.addr(&long), SocketOptions::default())).unwrap();
    assert_eq!(dir.path(&long).as_os_str().len(), MAX_PATH_BYTES);
    drop(bound);
    assert_eq!(dir.names(), ["file"]);
}

#[test]
fn an_abstract_name_is_bound_once() {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("inb-{}", std::process::id());
    let addr = ListenAddr::Abstract(name.as_str().into());
    let bound = bind(&only(addr.clone(), SocketOptions::default())).unwrap();
    let again = bind(&only(addr.clone(), SocketOptions::default())).unwrap_err();
    assert_eq!(again.to_string(), format!("abns@{name}: address already in use"));
    // Filled up with zeros, as haproxy does.
    let mut whole = name.into_bytes();
    whole.resize(107, 0);
    let peer = std::os::unix::net::SocketAddr::from_abstract_name(whole).unwrap();
    std::os::unix::net::UnixStream::connect_addr(&peer).unwrap();
    let copy = bound[0].socket.try_clone().unwrap();
    assert_eq!(Listening::adopted(copy, None, false).unwrap().addr, addr);
}
