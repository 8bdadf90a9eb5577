//! Backends that authenticate connections (NTLM, Negotiate): what went over one is the same user's to them.

use super::rig::{Client, Origin, Setup};
use crate::proxy::{Mode, Reuse};

const FIRST: &str = "GET / HTTP/1.1\r\nhost: t\r\nauthorization: NTLM hello\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nhost: t\r\nauthorization: NTLM alice\r\n\r\n";

/// Greets whom a connection belongs to: who says `hello`, then who he is.
async fn origin() -> Origin {
    Origin::start(|_, mut conn| async move {
        let (mut greeted, mut user) = (false, None);
        while let Some(request) = conn.request().await {
            greeted |= request.contains("NTLM hello");
            if greeted && request.contains("NTLM alice") {
                user = Some("alice");
            }
            let answer = match user {
                Some(user) => format!("200 OK\r\ncontent-length: {}\r\n\r\n{user}", user.len()),
                None => "401 x\r\nwww-authenticate: NTLM\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            conn.send(&format!("HTTP/1.1 {answer}")).await;
        }
    })
    .await
}

async fn log_in(client: &mut Client) {
    assert_eq!(client.get("/").await.status, 401);
    client.send(FIRST).await;
    assert_eq!(client.answer().await.status, 401);
    client.send(LAST).await;
    assert_eq!(client.answer().await.body, "alice");
    assert_eq!(client.get("/").await.body, "alice");
}

#[tokio::test]
async fn a_connection_with_a_user_serves_nobody_else() {
    for reuse in [Reuse::Never, Reuse::Safe, Reuse::Aggressive, Reuse::Always] {
        // Of two, so that the one that has begun to authenticate must be found again.
        let origins = [origin().await, origin().await];
        let mut setup = Setup::new(Mode::Http, &origins.each_ref().map(|it| it.addr));
        setup.settings.http.reuse = reuse;
        let rig = setup.start().await;
        let mut alice = rig.client().await;
        log_in(&mut alice).await;
        for _ in 0..4 {
            let mut stranger = rig.client().await;
            for _ in 0..4 {
                assert_eq!(stranger.get("/").await.status, 401, "{reuse:?}");
            }
        }
        assert_eq!(alice.get("/").await.body, "alice", "{reuse:?}");
        assert_eq!(rig.in_flight(), 0);
    }
}

/// Without a challenge before it: a ticket of Kerberos may come with the first request.
#[tokio::test]
async fn credentials_alone_make_a_connection_ones_own() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.http.reuse = Reuse::Always;
    let rig = setup.start().await;
    let mut alice = rig.client().await;
    alice.send("GET / HTTP/1.1\r\nhost: t\r\nauthorization: Negotiate YII=\r\n\r\n").await;
    assert_eq!(alice.answer().await.status, 200);
    assert_eq!(rig.client().await.get("/").await.status, 200);
    assert_eq!(origin.connections(), 2, "another's");
    assert_eq!(alice.get("/").await.status, 200);
    assert_eq!(origin.connections(), 2, "her own");
    drop(alice);
    assert_eq!(rig.client().await.get("/").await.status, 200);
    assert_eq!(origin.connections(), 2, "the other one");
}
