use std::num::NonZeroU32;
use std::task::Waker;

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::lb::crowd::Crowd;
use crate::proxy::http::socket::Socket;
use crate::proxy::wheel::{Group, Wheel};

#[tokio::test]
async fn a_connection_that_was_opened_otherwise_is_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let way = |seconds| {
        let user_timeout = Some(Duration::from_secs(seconds));
        Way { user_timeout, ..Way::default() }.settled()
    };
    // Put back after the settings have changed, `follow` has come too early for it.
    for (opened, wanted, fits) in [
        (None, None, true),
        (way(1), way(1), true),
        (None, way(1), false),
        (way(1), way(2), false),
        (way(1), None, false),
    ] {
        let mut pool = Pool::default();
        let socket = Socket::Watched(TcpStream::connect(at).await.unwrap());
        let upstream = Upstream::sample(socket, at.into());
        pool.put(Box::new(Upstream { way: opened.clone(), ..*upstream }), Millis(0));
        let addr = at.into();
        let want = Want {
            id: BackendId(1),
            addr: &addr,
            way: wanted.as_ref(),
            proven: false,
            surely: true,
            owner: None,
        };
        assert_eq!(pool.take(want, Millis(1)).is_some(), fits, "{opened:?} {wanted:?}");
        assert_eq!(pool.count, 0, "it is closed");
    }
}

/// As many owners as there is room for, and more: those that all share stay, and the last login.
#[tokio::test]
async fn each_kind_has_room_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut wheel = Wheel::new();
    let mut owner = || wheel.add(Waker::noop().clone(), Group(0));
    let mut pool = Pool::default();
    let put = async |pool: &mut Pool, owner: Option<Entry>| {
        let (stream, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
        let upstream = Upstream::sample(Socket::Watched(stream.unwrap()), at.into());
        let is_login = owner.is_some();
        pool.put(Box::new(Upstream { owner, is_login, ..*upstream }), Millis(0));
        accepted.unwrap().0
    };
    let mut peers = Vec::new();
    let (first, last) = (owner(), owner());
    peers.push(put(&mut pool, Some(first)).await);
    for _ in 0..MAX_IDLE + 2 {
        peers.push(put(&mut pool, None).await);
    }
    for _ in 0..MAX_IDLE - 1 {
        peers.push(put(&mut pool, Some(owner())).await);
    }
    assert_eq!(pool.count, 2 * MAX_IDLE);
    peers.push(put(&mut pool, Some(last)).await);
    assert_eq!(pool.count, 2 * MAX_IDLE);
    let addr = at.into();
    let want = |owner| Want {
        id: BackendId(1),
        addr: &addr,
        way: None,
        proven: false,
        surely: true,
        owner,
    };
    // Logins do not grow old.
    let now = Millis(0).after(10 * IDLE);
    assert!(pool.take(want(Some(first)), now).is_none(), "the oldest made room");
    assert!(pool.take(want(Some(last)), now).is_some());
    assert!(pool.take(want(None), now).is_none(), "too old");
    assert_eq!(pool.count, MAX_IDLE - 1);
}

/// Those that have ended, or are logged in, make none.
#[tokio::test]
async fn the_oldest_of_a_backend_makes_room() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let crowd = Arc::<Crowd>::default();
    crowd.set_max(NonZeroU32::new(1));
    let mut pool = Pool::default();
    let mut peers = Vec::new();
    for n in 0..4 {
        let (stream, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
        let stream = stream.unwrap();
        if n == 0 {
            drop(accepted);
            stream.readable().await.unwrap();
        } else {
            peers.push(accepted.unwrap().0);
        }
        let upstream = Upstream::sample(Socket::Watched(stream), at.into());
        let counted = crowd.enter();
        pool.put(Box::new(Upstream { counted, is_login: n == 1, ..*upstream }), Millis(n));
    }
    let since = |pool: &Pool| -> Vec<u64> {
        pool.idle.values().flatten().map(|it| it.idle_since.0).collect()
    };
    pool.make_room(&ServiceName::new("web"));
    assert_eq!(since(&pool), [0, 1, 2, 3], "nobody pleads");
    let plea = crowd.plead();
    pool.make_room(&ServiceName::new("other"));
    assert_eq!(since(&pool), [0, 1, 2, 3]);
    pool.make_room(&ServiceName::new("web"));
    assert_eq!((since(&pool), pool.count), (vec![1, 3], 2));
    pool.make_room(&ServiceName::new("web"));
    assert_eq!(since(&pool), [1, 3], "one for each plea");
    plea.repeat();
    pool.make_room(&ServiceName::new("web"));
    assert_eq!((since(&pool), pool.count), (vec![1], 1));
}
