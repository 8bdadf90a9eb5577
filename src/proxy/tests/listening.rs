//! Kinds of listening sockets, and what is said about one of them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::rig::{Origin, PATIENCE, Rig, Setup, until};
use crate::dial::KeepAlive;
use crate::proxy::listener::{Held, Listening, MAX_PATH_BYTES, Permissions, bind};
use crate::proxy::{BindAddr, ListenAddr, ListenerSettings, Mode, SocketOptions};

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

#[test]
fn held_sockets_are_given_in_order_with_their_new_options() {
    let dir = Dir::new("held");
    let plain = SocketOptions::default;
    let [tcp, unix] =
        [free(), dir.addr("a.sock")].map(|addr| bind(&only(addr, plain())).unwrap().remove(0));
    let (port, waiting) = (tcp.addr.clone(), dir.path("a.sock"));
    let waiting = std::os::unix::net::UnixStream::connect(waiting).unwrap();
    let mut held = Held::default();
    held.add(tcp);
    held.add(unix);
    let proxied = Arc::new(SocketOptions { accept_proxy: true, ..plain() });
    let about = |addr: &ListenAddr| BindAddr {
        options: Arc::clone(&proxied),
        ..BindAddr::required(addr.clone())
    };
    let wanted = [dir.addr("a.sock"), dir.addr("b.sock"), port];
    let settings = ListenerSettings { addrs: wanted.iter().map(about).collect(), backlog: 9 };
    let taken = held.take(&settings).unwrap();
    assert!(taken.iter().map(|socket| &socket.addr).eq(&wanted));
    assert!(taken.iter().all(|socket| socket.options.accept_proxy));
    rustix::net::accept(&taken[0].socket).expect("who waited is still there");
    drop(waiting);
    // Its file is gone: the socket is of no use.
    std::fs::remove_file(dir.path("a.sock")).unwrap();
    let mut held = Held::default();
    taken.into_iter().for_each(|socket| held.add(socket));
    let mut again = held.take(&settings).unwrap();
    again.iter_mut().for_each(|socket| socket.settle().unwrap());
    let _waiting = std::os::unix::net::UnixStream::connect(dir.path("a.sock")).unwrap();
    rustix::net::accept(&again[0].socket).expect("another socket, where clients find it");
    let mut held = Held::default();
    let missing = ListenerSettings { addrs: vec![about(&dir.addr("no/c"))], backlog: 9 };
    held.take(&missing).unwrap_err();
}

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

#[test]
fn a_socket_of_an_interface_is_not_taken_for_one_of_all() {
    let lo = || SocketOptions { interface: Some("lo".into()), ..SocketOptions::default() };
    let none = SocketOptions { interface: Some("nosuch0".into()), ..SocketOptions::default() };
    let error = bind(&only(free(), none)).unwrap_err().to_string();
    assert!(error.contains("nosuch0"), "{error}");
    let bound = bind(&only(free(), lo())).unwrap().remove(0);
    let device = socket2::SockRef::from(&bound.socket).device().unwrap();
    assert_eq!(device.as_deref(), Some(&b"lo"[..]));
    let addr = bound.addr.clone();
    let mut held = Held::default();
    held.add(bound);
    held.take(&only(addr.clone(), SocketOptions::default())).unwrap_err();
    held.take(&only(addr, lo())).unwrap();
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

fn held(sockets: impl IntoIterator<Item = Listening>) -> Held {
    let mut held = Held::default();
    sockets.into_iter().for_each(|socket| held.add(socket));
    held
}

fn with_mode(mode: Option<u32>) -> SocketOptions {
    let permissions = Permissions { mode, ..Permissions::default() };
    SocketOptions { permissions, ..SocketOptions::default() }
}

/// The mode and the inode of a file.
fn state(path: &std::path::Path) -> (u32, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::symlink_metadata(path).unwrap();
    (file.mode() & 0o777, file.ino())
}

#[test]
fn what_comes_to_nothing_leaves_the_path_to_who_listens_there() {
    let dir = Dir::new("nothing");
    let running = bind(&only(dir.addr("a.sock"), SocketOptions::default())).unwrap().remove(0);
    let before = state(&dir.path("a.sock"));
    let mut nothing = Held::default();
    let taken = nothing.take(&only(dir.addr("a.sock"), SocketOptions::default())).unwrap();
    assert_eq!(state(&dir.path("a.sock")), before, "not before all is had");
    drop(taken);
    assert_eq!(dir.names(), ["a.sock"]);
    let _waiting = std::os::unix::net::UnixStream::connect(dir.path("a.sock")).unwrap();
    rustix::net::accept(&running.socket).expect("its own client");
}

#[test]
fn a_shared_socket_changes_only_when_it_is_settled() {
    let dir = Dir::new("settled");
    let tcp = bind(&only(free(), SocketOptions::default())).unwrap().remove(0);
    let unix = bind(&only(dir.addr("a.sock"), with_mode(Some(0o600)))).unwrap().remove(0);
    let before = state(&dir.path("a.sock"));
    let about = |addr: ListenAddr, options| only(addr, options).addrs.remove(0);
    let keepalive =
        SocketOptions { keep_alive: Some(KeepAlive::default()), ..SocketOptions::default() };
    let addrs =
        vec![about(tcp.addr.clone(), keepalive), about(dir.addr("a.sock"), with_mode(Some(0o666)))];
    let settings = ListenerSettings { addrs, backlog: 16 };
    let copies = || [&tcp, &unix].map(|socket| socket.try_clone().unwrap());
    let is_asked = || socket2::SockRef::from(&tcp.socket).keepalive().unwrap();
    drop(held(copies()).take(&settings).unwrap());
    assert!(!is_asked() && state(&dir.path("a.sock")) == before, "refused for another's sake");
    let mut taken = held(copies()).take(&settings).unwrap();
    taken.iter_mut().for_each(|socket| socket.settle().unwrap());
    assert!(is_asked());
    assert_eq!(state(&dir.path("a.sock")).0, 0o666);
    drop(unix);
    assert_eq!(state(&dir.path("a.sock")).0, 0o666, "the former one's end");
}

#[test]
fn permissions_that_are_not_said_any_more_are_taken_back() {
    let dir = Dir::new("less");
    let usual = bind(&only(dir.addr("b.sock"), SocketOptions::default())).unwrap();
    let usual_mode = state(&dir.path("b.sock")).0;
    let said = usual_mode ^ 0o066;
    let told = bind(&only(dir.addr("a.sock"), with_mode(Some(said)))).unwrap();
    assert_eq!(state(&dir.path("a.sock")).0, said);
    let mut held = held(told.into_iter().chain(usual));
    let inode = state(&dir.path("b.sock")).1;
    for name in ["a.sock", "b.sock"] {
        let settings = only(dir.addr(name), SocketOptions::default());
        let mut taken = held.take(&settings).unwrap().remove(0);
        taken.settle().unwrap();
        assert_eq!(state(&dir.path(name)).0, usual_mode, "{name}");
        taken.own_file(false);
    }
    assert_eq!(state(&dir.path("b.sock")).1, inode, "nothing has changed about it");
}

#[test]
fn one_option_that_is_refused_does_not_keep_the_others() {
    let plain = bind(&only(free(), SocketOptions::default())).unwrap().remove(0);
    let addr = plain.addr.clone();
    // The kernel takes 127 at most.
    let keepalive = KeepAlive { count: NonZeroU32::new(1000), ..KeepAlive::default() };
    let options = SocketOptions {
        keep_alive: Some(keepalive),
        user_timeout: Some(Duration::from_millis(1234)),
        ..SocketOptions::default()
    };
    let mut taken = held([plain]).take(&only(addr, options)).unwrap().remove(0);
    taken.settle().unwrap();
    let socket = socket2::SockRef::from(&taken.socket);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1234)));
}

#[test]
fn of_a_foreign_socket_only_what_was_said_here_is_taken_back() {
    let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&theirs).set_keepalive(true).unwrap();
    let adopted = Listening::adopted(theirs, None, true).unwrap();
    let addr = adopted.addr.clone();
    let told = SocketOptions {
        user_timeout: Some(Duration::from_millis(1234)),
        ..SocketOptions::default()
    };
    let mut held = held([adopted]);
    for (options, wanted) in [
        (SocketOptions::default(), None),
        (told, Some(Duration::from_millis(1234))),
        (SocketOptions::default(), None),
    ] {
        let mut taken = held.take(&only(addr.clone(), options)).unwrap().remove(0);
        taken.settle().unwrap();
        let socket = socket2::SockRef::from(&taken.socket);
        assert!(socket.keepalive().unwrap(), "its unit says so");
        assert_eq!(socket.tcp_user_timeout().unwrap(), wanted);
        held.add(taken);
    }
}

#[test]
fn a_handed_over_socket_that_clients_cannot_find_is_not_used() {
    let dir = Dir::new("unfound");
    let settings = only(dir.addr("a.sock"), SocketOptions::default());
    let bound = bind(&settings).unwrap().remove(0);
    let file = bound.file().unwrap();
    let adopt = || {
        let copy = bound.socket.try_clone().unwrap();
        Listening::adopted(copy, Some(dir.addr("a.sock")), false).unwrap()
    };
    let waiting = || std::os::unix::net::UnixStream::connect(dir.path("a.sock"));
    let is_used = |adopted| {
        let mut taken = held([adopted]).take(&settings).unwrap().remove(0);
        taken.settle().unwrap();
        let _waiting = waiting().unwrap();
        rustix::net::accept(&taken.socket).expect("who serves is found");
        taken.own_file(false);
        taken.file() == Some(file)
    };
    assert!(is_used(adopt().with_file(Some(file.0), file.1)));
    assert!(!is_used(adopt().without_file()), "the former process did not find it");
    // Now somebody else's is there.
    assert!(bound.file().is_none() && bound.is_lost());
    assert!(!is_used(adopt().with_file(Some(file.0), file.1)));
    std::fs::remove_file(dir.path("a.sock")).unwrap();
    assert!(!is_used(adopt().with_file(Some(file.0), file.1)));
}

#[test]
fn sockets_of_two_interfaces_may_have_one_address() {
    let of = |interface: &str| SocketOptions {
        interface: Some(interface.into()),
        ..SocketOptions::default()
    };
    let all = std::net::SocketAddr::from(([0, 0, 0, 0], 0)).into();
    let lo = bind(&only(all, of("lo"))).unwrap().remove(0);
    let addr = lo.addr.clone();
    let mut held = held([lo]);
    let other = held.take(&only(addr.clone(), of("nosuch0"))).unwrap_err();
    assert!(other.to_string().contains("nosuch0"), "bound by itself: {other}");
    let taken = held.take(&only(addr, of("lo"))).unwrap();
    assert_eq!(taken[0].options.interface.as_deref(), Some("lo"));
}
