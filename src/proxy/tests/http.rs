//! HTTP mode.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, interval};

use super::rig::{Answer, Origin, PATIENCE, Rig, Setup, header, nobody, until};
use crate::proxy::{CloseMode, Mode, Reuse};
use crate::telemetry::cells::ErrorCause;

const POST: &str = "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn both_sides_are_kept_open() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for path in ["/1", "/2", "/3"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(&format!("a\nGET {path} HTTP/1.1\r\n")));
        assert_eq!(header(&answer.body, "host"), Some("t"));
        assert_eq!(header(&answer.body, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(header(&answer.head, "connection"), None);
    }
    let mut other = rig.client().await;
    assert_eq!(other.get("/4").await.status, 200);
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
    let cells = &rig.service.cells;
    assert_eq!(cells.sum(|c| c.requests.get()), 4);
    assert_eq!(cells.sum(|c| c.responses[2].get()), 4);
    assert_eq!(cells.sum(|c| c.latency.buckets.iter().map(|b| b.get()).sum()), 4);
    assert_eq!(rig.pool.backends[0].cells.sum(|c| c.reuses.get()), 3);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origins = (Origin::echo("a").await, Origin::echo("b").await);
    let rig = Rig::http(&[origins.0.addr, origins.1.addr]).await;
    let mut client = rig.client().await;
    let one = |n| format!("GET /{n} HTTP/1.1\r\nhost: t\r\n\r\n");
    client.send(&(one(1) + POST + &one(3))).await;
    for expected in ["GET /1", "POST /", "GET /3"] {
        let body = client.answer().await.body;
        assert!(body.lines().nth(1).unwrap().starts_with(expected));
    }
}

#[tokio::test]
async fn bodies_pass_with_length_and_in_chunks() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(POST).await;
    let answer = client.answer().await;
    assert!(answer.body.ends_with("\r\n\r\nhi"), "{answer:?}");
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert!(answer.body.ends_with("\r\n\r\nabcde"), "{answer:?}");
    assert_eq!(header(&answer.body, "content-length"), None);
    assert_eq!(rig.service.cells.sum(|c| c.bytes_in.get()), 7);
}

#[tokio::test]
async fn two_framings_never_travel_together() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n")
        .await;
    let (got, _) = {
        client.0.shutdown().await.unwrap();
        client.rest().await
    };
    assert!(!got.contains("content-length: 30"), "{got}");
}

#[tokio::test]
async fn an_answer_streams_while_it_is_made() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        // The second half only after the client has confirmed the first.
        assert_eq!(conn.request().await, None);
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert!(client.until("1\r\na\r\n").await.contains("200 OK"));
    drop(client);
}

#[tokio::test]
async fn trailers_pass() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
            .await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nte: trailers\r\nconnection: te\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "okx-sum: 7\r\n");
}

#[tokio::test]
async fn answers_without_body_leave_the_connection_clean() {
    let origin = Origin::start(|_, mut conn| async move {
        while let Some(request) = conn.request().await {
            let answer = match request.split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
                "PUT" => "HTTP/1.1 204 No Content\r\n\r\n",
                "OPTIONS" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            };
            conn.send(answer).await;
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for (method, status) in [("HEAD", 200), ("PUT", 204), ("OPTIONS", 304), ("GET", 200)] {
        client.send(&format!("{method} / HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        if method == "HEAD" {
            assert_eq!(header(&head, "content-length"), Some("100"));
        }
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::start(|_, mut conn| async move {
        let request = conn.request().await.unwrap();
        assert_eq!(header(&request, "upgrade"), Some("echo"));
        assert_eq!(header(&request, "connection"), Some("upgrade"));
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly ")
            .await;
        let mut got = vec![0; 4];
        conn.0.read_exact(&mut got).await.unwrap();
        conn.0.write_all(&got).await.unwrap();
        assert_eq!(conn.0.read(&mut got).await.unwrap(), 0);
        conn.send(" bye").await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("echo"));
    client.send("ping").await;
    client.until("early ping").await;
    assert_eq!(rig.in_flight(), 1);
    client.0.shutdown().await.unwrap();
    assert_eq!(client.rest().await, (" bye".to_owned(), None));
    until("lease back", || rig.in_flight() == 0).await;
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_502() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    assert_eq!(rig.client().await.get("/").await.status, 502);
}

#[tokio::test]
async fn a_refused_backend_is_left_for_another() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[nobody(), origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..4 {
        client.send(POST).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(rig.service.cells.sum(|c| c.redispatches.get()), 4);
}

#[tokio::test]
async fn when_all_refuse_it_is_503_with_the_known_page() {
    let mut setup = Setup::new(Mode::Http, &[nobody()]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(20));
    setup.settings.retries = 2;
    let rig = setup.start().await;
    let mut client = rig.client().await;
    let start = Instant::now();
    let answer = client.get("/").await;
    assert!(start.elapsed() >= Duration::from_millis(40), "two turn-arounds");
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
    );
    assert_eq!(header(&answer.head, "cache-control"), Some("no-cache"));
    assert_eq!(header(&answer.head, "content-type"), Some("text/html"));
    assert_eq!(client.get("/").await.status, 503);
    assert_eq!(rig.errors(ErrorCause::Connect), 2);
    assert_eq!(rig.service.cells.sum(|c| c.retries.get()), 4);
}

#[tokio::test]
async fn no_backend_and_all_full_are_503() {
    let rig = Rig::http(&[]).await;
    assert_eq!(rig.client().await.get("/").await.status, 503);
    assert_eq!(rig.errors(ErrorCause::NoBackend), 1);

    let origin =
        Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.server_max = Some(1);
    setup.settings.timeouts.queue = Some(Duration::from_millis(50));
    let rig = setup.start().await;
    let mut held = rig.client().await;
    held.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("held", || rig.in_flight() == 1).await;
    assert_eq!(rig.client().await.get("/").await.status, 503);
    assert_eq!(rig.errors(ErrorCause::QueueTimeout), 1);
}

/// Answers the first request of each connection, dies without a byte under the second.
async fn dies_under_the_second() -> Origin {
    Origin::start(|_, mut conn| async move {
        conn.request().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        conn.request().await.unwrap();
    })
    .await
}

#[tokio::test]
async fn an_idempotent_request_is_replayed() {
    let origin = dies_under_the_second().await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(rig.service.cells.sum(|c| c.replays.get()), 2);
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn a_request_that_must_not_repeat_closes_the_client_silently() {
    let origin = dies_under_the_second().await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    assert_eq!(client.get("/").await.status, 200);
    client.send(POST).await;
    assert_eq!(client.rest().await.0, "");
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
}

/// A client cannot know that its fresh connection led to one that had been used before.
#[tokio::test]
async fn a_clients_first_request_that_must_not_repeat_is_502_over_a_reused_connection() {
    let origin = dies_under_the_second().await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.http.reuse = Reuse::Always;
    let rig = setup.start().await;
    assert_eq!(rig.client().await.get("/").await.status, 200);
    let mut other = rig.client().await;
    other.send(POST).await;
    assert_eq!(other.answer().await.status, 502);
    assert_eq!(origin.connections(), 1);
    assert_eq!(rig.in_flight(), 0);
}

/// Without retries nothing is sent again, so nobody's first request goes over a connection that may have ended.
#[tokio::test]
async fn without_retries_a_clients_first_request_has_a_connection_of_its_own() {
    let origin = dies_under_the_second().await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.retries = 0;
    let rig = setup.start().await;
    for _ in 0..3 {
        assert_eq!(rig.client().await.get("/").await.status, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_502_for_a_post() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(POST).await;
    assert_eq!(client.answer().await.status, 502);
    assert_eq!(origin.connections(), 1);
    // A GET is sent once more, whatever `retries` says: it may be what kills them.
    assert_eq!(client.get("/").await.status, 502);
    assert_eq!(origin.connections(), 1 + 2);
}

#[tokio::test]
async fn garbage_is_502() {
    for junk in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-le"]
    {
        let origin = Origin::start(move |_, mut conn| async move {
            conn.request().await;
            conn.send(junk).await;
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        let answer = client.get("/").await;
        assert_eq!(answer.status, 502, "{junk:?}");
        assert!(answer.body.contains("502 Bad Gateway"));
        assert_eq!(origin.connections(), 1, "an answer had begun");
    }
}

#[tokio::test]
async fn bytes_beyond_an_answer_never_reach_anybody() {
    let origin = Origin::start(|_, mut conn| async move {
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
                .await;
        }
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.body, "ok");
    }
}

#[tokio::test]
async fn a_late_answer_is_504() {
    let origin =
        Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.server = Some(Duration::from_millis(60));
    let rig = setup.start().await;
    let mut client = rig.client().await;
    let start = Instant::now();
    let answer = client.get("/").await;
    assert!(start.elapsed() >= Duration::from_millis(60));
    assert_eq!(answer.status, 504);
    assert!(answer.body.contains("The server didn't respond in time."));
    assert_eq!(rig.errors(ErrorCause::BackendTimeout), 1);
    assert_eq!(rig.in_flight(), 0);
    assert_eq!(client.get("/").await.status, 504, "the client's connection lives");
}

#[tokio::test]
async fn a_head_that_drips_is_504_as_well() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\nx: ").await;
        while conn.0.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.server = Some(Duration::from_millis(100));
    let rig = setup.start().await;
    let answer = rig.client().await.get("/").await;
    assert_eq!(answer.status, 504);
    assert_eq!(rig.errors(ErrorCause::BackendTimeout), 1);
}

#[tokio::test]
async fn an_answer_that_stalls_or_breaks_is_never_ended_cleanly() {
    for stall in [true, false] {
        for head in ["content-length: 100", "transfer-encoding: chunked"] {
            let origin = Origin::start(move |_, mut conn| async move {
                conn.request().await;
                conn.send(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nabcde\r\n")).await;
                if stall {
                    conn.request().await;
                }
            })
            .await;
            let mut setup = Setup::new(Mode::Http, &[origin.addr]);
            setup.settings.timeouts.server = Some(Duration::from_millis(60));
            let rig = setup.start().await;
            let mut client = rig.client().await;
            client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
            let (got, _) = client.rest().await;
            assert!(got.contains("abcde") && !got.ends_with("0\r\n\r\n"), "{got}");
            until("lease back", || rig.in_flight() == 0).await;
            let cause = if stall { ErrorCause::BackendTimeout } else { ErrorCause::Backend };
            until("counted", || rig.errors(cause) == 1).await;
            assert_eq!(rig.errors(ErrorCause::ClientAbort), 0);
        }
    }
}

#[tokio::test]
async fn slow_heads_and_bodies_are_408_and_idle_connections_close_silently() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(80));
    setup.settings.timeouts.http_request = Some(Duration::from_millis(60));
    setup.settings.timeouts.http_keep_alive = Some(Duration::from_millis(40));
    let rig = setup.start().await;
    for start in ["", "GET / HT", "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nab"] {
        let mut client = rig.client().await;
        client.send(start).await;
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 408 "), "{start:?}: {got}");
    }
    let mut idle = rig.client().await;
    assert_eq!(idle.get("/").await.status, 200);
    assert_eq!(idle.rest().await.0, "");
    let mut second = rig.client().await;
    assert_eq!(second.get("/").await.status, 200);
    second.send("GET /").await;
    assert!(second.rest().await.0.starts_with("HTTP/1.1 408 "));
}

/// `timeout client` alone would do for each of these; the others are longer, as is the time of one who keeps sending.
#[tokio::test]
async fn silence_of_a_client_ends_heads_and_rests_however_long_these_may_be() {
    let origin = Origin::echo("a").await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.client = Some(Duration::from_millis(400));
    setup.settings.timeouts.http_request = Some(PATIENCE);
    setup.settings.timeouts.http_keep_alive = Some(PATIENCE);
    let rig = setup.start().await;
    let begun = Instant::now();
    for start in ["", "GET / HT"] {
        let mut client = rig.client().await;
        client.send(start).await;
        assert!(client.rest().await.0.starts_with("HTTP/1.1 408 "), "{start:?}");
        let mut client = rig.client().await;
        assert_eq!(client.get("/").await.status, 200);
        client.send(start).await;
        let (end, _) = client.rest().await;
        assert!(if start.is_empty() { end.is_empty() } else { end.starts_with("HTTP/1.1 408 ") });
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let mut slow = rig.client().await;
    let slow_since = Instant::now();
    let mut pace = interval(Duration::from_millis(50));
    for byte in "GET / HTTP/1.1\r\n".chars() {
        pace.tick().await;
        slow.send(&byte.to_string()).await;
    }
    assert!(slow_since.elapsed() > Duration::from_millis(400), "longer than a silence may last");
    slow.send("host: t\r\nconnection: close\r\n\r\n").await;
    assert!(slow.rest().await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_resets_cancels_its_request() {
    let origin =
        Origin::start(|_, mut conn| async move { while conn.request().await.is_some() {} }).await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("asked", || rig.in_flight() == 1).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    until("cancelled", || rig.in_flight() == 0).await;
    assert_eq!(rig.errors(ErrorCause::ClientAbort), 1);
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    client.0.shutdown().await.unwrap();
    assert!(client.rest().await.0.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        conn.request().await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n").await;
    for _ in 0..10 {
        // The rest may meet a closed connection; the answer must be there all the same.
        if client.0.write_all(&[b'x'; 1000]).await.is_err() {
            break;
        }
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "big"));
}

#[tokio::test]
async fn an_answer_before_a_reset_is_heard() {
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        // Closing with the body unread resets the connection, right behind the answer.
        conn.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    for _ in 0..20 {
        let mut client = rig.client().await;
        client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 50000000\r\n\r\n").await;
        let body = vec![b'x'; 100_000];
        while client.0.write_all(&body).await.is_ok() {}
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (413, "big"));
    }
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn expect_is_the_backends_to_answer() {
    let origin = Origin::start(|_, mut conn| async move {
        let head = conn.until("\r\n\r\n").await;
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = head + &conn.until("hi").await;
        conn.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
            .await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    client.send("hi").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer.body, "expect"), Some("100-continue"));
}

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

#[tokio::test]
async fn close_modes_close_what_they_say() {
    for (mode, origin_side, client_side) in [
        (CloseMode::ServerClose, Some("close"), None),
        (CloseMode::Close, Some("close"), Some("close")),
    ] {
        let origin = Origin::echo("a").await;
        let mut setup = Setup::new(Mode::Http, &[origin.addr]);
        setup.settings.http.close_mode = mode;
        let rig = setup.start().await;
        let mut client = rig.client().await;
        let answer = client.get("/").await;
        assert_eq!(header(&answer.body, "connection"), origin_side);
        assert_eq!(header(&answer.head, "connection"), client_side);
        if mode == CloseMode::Close {
            assert_eq!(client.rest().await.0, "");
        } else {
            assert_eq!(client.get("/").await.status, 200);
            assert_eq!(origin.connections(), 2);
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_400_and_closed() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for junk in [
        "\x16\x03\x01junk\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\ncontent-length: 5, 6\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
    ] {
        let mut client = rig.client().await;
        client.send(junk).await;
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 40"), "{junk:?}: {got}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 5);
}

/// Not at a time-out, and not only when it has come to an end.
#[tokio::test]
async fn what_is_not_http_is_400_as_soon_as_it_shows() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for junk in [
        "\x16\x03",
        "SSH-2.0-x\r\n",
        "GET /\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\nbad header\r\n",
        "GET / HTTP/1.1\r\nhost : t\r\n",
        "GET / HTTP/1.1\r\nhost: t\r\nx: \0",
    ] {
        let mut client = rig.client().await;
        client.0.set_nodelay(true).unwrap();
        for byte in junk.split("").filter(|byte| !byte.is_empty()) {
            client.send(byte).await;
            tokio::task::yield_now().await;
        }
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{junk:?}: {got}");
    }
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 6);
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let head = "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let bad = ["5\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n"];
    for chunks in bad {
        // Before, a connection is made that the bad request then reuses.
        assert_eq!(rig.client().await.get("/").await.status, 200);
        let mut client = rig.client().await;
        client.send(&format!("{head}{chunks}")).await;
        let (got, _) = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{chunks:?}: {got}");
        assert_eq!(got.matches("HTTP/1.1").count(), 1);
    }
    assert_eq!(rig.errors(ErrorCause::ClientProtocol), 3);
    let cells = &rig.pool.backends[0].cells;
    assert_eq!(cells.sum(|c| c.response_errors.get()), 0);
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn an_upload_that_ends_early_is_the_clients_fault() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    for framing in ["content-length: 10\r\n\r\nhi", "transfer-encoding: chunked\r\n\r\n5\r\nhi"] {
        let mut client = rig.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: t\r\n{framing}")).await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await.0, "", "{framing}");
    }
    assert_eq!(rig.errors(ErrorCause::ClientAbort), 2);
    assert_eq!(rig.errors(ErrorCause::Backend), 0);
}

#[tokio::test]
async fn heads_are_bounded_as_haproxys() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let head = |bytes: usize, count: usize| {
        let lines = "x: y\r\n".repeat(count);
        format!("GET / HTTP/1.1\r\nhost: t\r\nbig: {}\r\n{lines}\r\n", "x".repeat(bytes))
    };
    for (bytes, count, ok) in
        [(12_000, 0, true), (10, 95, true), (20_000, 0, false), (10, 200, false)]
    {
        let mut client = rig.client().await;
        client.send(&head(bytes, count)).await;
        let got = client.answer().await;
        assert_eq!(got.status == 200, ok, "{bytes} {count}: {got:?}");
        assert!(ok || matches!(got.status, 400 | 431));
    }
}

#[tokio::test]
async fn what_follows_a_last_request_is_not_served_and_does_not_harm_its_answer() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    let last = "GET /last HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    client.send(&format!("{last}{}", last.repeat(20))).await;
    let (got, error) = client.rest().await;
    assert_eq!(error, None);
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 1, "{got}");
}

#[tokio::test]
async fn new_settings_hold_from_the_next_request() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    let first = client.get("/").await;
    assert_eq!(header(&first.body, "x-forwarded-for"), Some("127.0.0.1"));
    let mut settings = super::rig::settings(Mode::Http);
    settings.http.forward_for = None;
    rig.service.settings.store(settings.into());
    let second = client.get("/").await;
    assert_eq!(header(&second.body, "x-forwarded-for"), None);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_upload_passes_while_nobody_reads_the_answer() {
    const SIZE: usize = 6_000_000;
    // Answers at once with more than any buffer on the way holds, and reads all the same.
    let origin = Origin::start(|_, mut conn| async move {
        conn.until("\r\n\r\n").await;
        let already = conn.1.len();
        let (mut read, mut write) = conn.0.into_split();
        let answer = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", SIZE + 4);
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&vec![b'a'; SIZE]).await.unwrap();
            write
        });
        let mut body = vec![0; SIZE - already];
        read.read_exact(&mut body).await.unwrap();
        let mut write = answer.await.unwrap();
        write.write_all(b"done").await.unwrap();
        // Open until the other side has all.
        drop(read.read(&mut body).await);
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {SIZE}\r\n\r\n")).await;
    client.0.write_all(&vec![b'q'; SIZE]).await.unwrap();
    let answer = client.answer().await;
    assert_eq!(answer.body.len(), SIZE + 4);
    assert!(answer.body.ends_with("adone"));
}

/// A POST of `size` bytes, all different.
fn upload(size: usize) -> String {
    use std::fmt::Write as _;
    let mut body = String::new();
    for line in 0_u32.. {
        if body.len() >= size {
            break;
        }
        writeln!(body, "{line:07}").unwrap();
    }
    body.truncate(size);
    format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {size}\r\n\r\n{body}")
}

/// True when `answer` repeats the whole body of `upload`. Not compared with `assert_eq`: nobody reads 200 kB.
fn repeats(answer: &Answer, upload: &str) -> bool {
    let body = |text: &str| text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    answer.status == 200 && body(&answer.body) == body(upload)
}

#[tokio::test]
async fn a_body_that_comes_with_its_head_goes_on_whole() {
    let origin = Origin::echo("a").await;
    // The refused one is tried first, now and then: the body waits meanwhile.
    let rig = Rig::http(&[nobody(), origin.addr]).await;
    for size in [2, 4096, 4097, 16_384, 32_000, 32_768, 40_000, 200_000] {
        let upload = upload(size);
        // Over a fresh connection to the backend or a kept one, first of its client or not.
        let mut client = rig.client().await;
        for _ in 0..3 {
            client.send(&upload).await;
            assert!(repeats(&client.answer().await, &upload), "{size}");
        }
        // Two that come together, with the head of a third.
        client.send(&(upload.clone() + &upload + "GET /next HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        for _ in 0..2 {
            assert!(repeats(&client.answer().await, &upload), "{size}");
        }
        assert!(client.answer().await.body.starts_with("a\nGET /next"), "{size}");
    }
}

#[tokio::test]
async fn a_body_survives_that_its_kept_connection_has_ended() {
    let origin = Origin::start(|_, mut conn| async move {
        // One answer a connection, and no word about it.
        let request = conn.request().await.unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.len());
        conn.send(&(head + &request)).await;
    })
    .await;
    let rig = Rig::http(&[origin.addr]).await;
    let mut client = rig.client().await;
    for size in [16_384, 32_000] {
        for _ in 0..5 {
            let upload = upload(size);
            client.send(&upload).await;
            assert!(repeats(&client.answer().await, &upload), "{size}");
        }
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_502_as_long_as_nothing_was_sent() {
    for extra in ["", "Connection: close\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{extra}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
        let origin = Origin::start(move |_, mut conn| {
            let answer = answer.clone();
            async move {
                conn.request().await;
                conn.send(&answer).await;
                // Open as long as the proxy wants it.
                conn.more().await;
            }
        })
        .await;
        let rig = Rig::http(&[origin.addr]).await;
        let mut client = rig.client().await;
        assert_eq!(client.get("/").await.status, 502, "{extra:?}");
        assert_eq!(rig.service.cells.sum(|c| c.responses.iter().map(|cell| cell.get()).sum()), 1);
        assert_eq!(client.get("/").await.status, 502, "{extra:?}");
        assert_eq!(origin.connections(), 2, "that connection is not used again");
    }
}
