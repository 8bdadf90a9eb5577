//! HTTP/1.0, on either side.

use super::super::rig::{Origin, Rig, Setup, header};
use crate::proxy::{Mode, Reuse};

#[tokio::test]
async fn old_clients_are_served_their_way() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.0\r\nhost: t\r\n\r\n").await;
    let (got, _) = client.rest().await;
    assert!(got.starts_with("HTTP/1.0 200 OK"), "{got}");
    assert!(got.contains("a\nGET / HTTP/1.1\r\nhost: t\r\n"), "{got}");
    let mut kept = rig.client().await;
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        let answer = kept.answer().await;
        assert_eq!(header(&answer.head, "connection"), Some("keep-alive"));
    }
}

/// HTTP/1.1 wants a host, and servers refuse an empty one (nginx does): haproxy's own checks have none.
#[tokio::test]
async fn a_request_that_says_no_host_goes_on_in_its_own_version() {
    for (line, connections) in [("connection: keep-alive\r\n", 1), ("", 2)] {
        let origin = Origin::start(move |_, mut conn| async move {
            while let Some(request) = conn.request().await {
                let len = request.len();
                let head = format!("HTTP/1.1 200 OK\r\n{line}content-length: {len}\r\n\r\n");
                conn.send(&(head + &request)).await;
            }
        })
        .await;
        let mut setup = Setup::new(Mode::Http, &[origin.addr]);
        setup.settings.http.reuse = Reuse::Always;
        let rig = setup.start().await;
        for _ in 0..2 {
            let mut client = rig.client().await;
            client.send("POST /x HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi").await;
            let (got, _) = client.rest().await;
            assert!(got.starts_with("HTTP/1.0 200 OK\r\n"), "{got}");
            let asked = got.split_once("\r\n\r\n").unwrap().1;
            assert!(asked.starts_with("POST /x HTTP/1.0\r\ncontent-length: 2\r\n"), "{got}");
            assert_eq!(header(asked, "connection"), Some("keep-alive"));
            assert_eq!(header(asked, "host"), None);
            assert!(asked.ends_with("\r\n\r\nhi"), "{got}");
        }
        assert_eq!(origin.connections(), connections, "{line:?}");
    }
}

#[tokio::test]
async fn an_answer_framed_by_its_end_passes() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.0 200 OK\r\n\r\nto the end").await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.body, "to the end");
    }
}
