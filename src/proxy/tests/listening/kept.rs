//! Sockets that are kept for the next configuration or process: which are used again, and what changes about them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Dir, free, only};
use crate::dial::KeepAlive;
use crate::proxy::listener::{Held, Listening, Permissions, bind};
use crate::proxy::{BindAddr, ListenAddr, ListenerSettings, SocketOptions};

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
