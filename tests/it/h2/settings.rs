//! What a connection begins with, and what settings, windows and limits mean to the frames behind them.

use serde_json::json;

use super::judge::{Came, FLOW, Must, PROTOCOL, REFUSED, get, grow, outcome, ping, setting};
use super::raw::{
    ACK, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, ask, fields, frame, request,
};
use super::web::{web, web_called, web_with, web2};
use crate::support::lab::Lab;

/// 3.4: what begins otherwise is no HTTP/2.
#[tokio::test]
async fn a_connection_begins_with_the_preface_and_settings() {
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["services"]["web"]["haproxy"]["bind_options"] = "proto h2".into();
    })
    .await;
    let mut wrong = PREFACE.to_vec();
    wrong[20] = b'X';
    let hello = frame(SETTINGS, 0, 0, &[]);
    for said in [
        [&wrong[..], &hello].concat(),
        [PREFACE, &ping(), &hello].concat(),
        [PREFACE, &get()].concat(),
        [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat(),
        [PREFACE, &frame(SETTINGS, 0, 1, &[])].concat(),
    ] {
        let mut raw = Raw::bare(web.front).await;
        raw.send(&said).await;
        let came = outcome(&mut raw).await;
        assert!(Must::End(&[PROTOCOL]).allows(came), "{came:?} after {said:?}");
    }
    assert_eq!(web.server.requests(), 0);
}

#[tokio::test]
async fn settings_and_pings_are_answered_with_what_they_said() {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let mut raw = Raw::open(web.front).await;
    let mut acknowledged = 0;
    raw.send(&[setting(3, 9), setting(3, 10), frame(PING, 0, 0, b"abcdefgh")].concat()).await;
    let pong = loop {
        let frame = raw.next().await.expect("an answer");
        match frame.kind {
            SETTINGS if frame.flags & ACK != 0 => acknowledged += 1,
            PING => break frame,
            _other => {}
        }
    };
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"abcdefgh"[..]));
    // Ours for the first ones came before, those for these two in the order in which they were said.
    assert!(acknowledged >= 2, "{acknowledged}");
}

/// Bytes of DATA on stream 1 until a PING is answered.
async fn until_pong(raw: &mut Raw) -> usize {
    raw.send(&ping()).await;
    let mut bytes = 0;
    loop {
        let frame = raw.next().await.expect("it lasts");
        match frame.kind {
            DATA => bytes += frame.payload.len(),
            PING if frame.flags & ACK != 0 => return bytes,
            RST_STREAM | GOAWAY => panic!("{frame:?}"),
            _other => {}
        }
    }
}

/// Bytes of DATA on stream 1, as many as `want`.
async fn until_given(raw: &mut Raw, want: usize) {
    let mut bytes = 0;
    while bytes < want {
        let frame = raw.next().await.expect("it lasts");
        bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
    }
    assert_eq!(bytes, want);
}

/// 6.9.2: a setting changes the windows of streams that are there, below 0, too. 6.5.3: the last of two values counts.
#[tokio::test]
async fn windows_follow_the_settings() {
    let lab = Lab::new().await;
    let web = web_called(&lab, "origin-A").await;
    let mut raw = Raw::open_with(web.front, &[(4, 100), (4, 0)]).await;
    raw.send(&get()).await;
    loop {
        if raw.next().await.expect("a head").kind == HEADERS {
            break;
        }
    }
    assert_eq!(until_pong(&mut raw).await, 0);
    raw.send(&setting(4, 3)).await;
    until_given(&mut raw, 3).await;
    assert_eq!(until_pong(&mut raw).await, 0);
    // Two below 0: two more change nothing yet.
    raw.send(&[setting(4, 1), grow(1, 2)].concat()).await;
    assert_eq!(until_pong(&mut raw).await, 0);
    raw.send(&grow(1, 1)).await;
    until_given(&mut raw, 1).await;
    raw.send(&grow(1, 100)).await;
    until_given(&mut raw, 4).await;
}

/// 6.9.1: who sends more than the window has room for is stopped, not served.
#[tokio::test]
async fn more_than_the_window_is_not_taken() {
    let lab = Lab::new().await;
    let web = web2(&lab, &[]).await;
    let mut raw = Raw::open(web.front).await;
    let mut head = request("POST");
    head.retain(|field| field.0 != ":path");
    head.push((":path", b"/hold"));
    // The backend's window and the proxy's own; then nobody reads.
    let body = frame(DATA, 0, 1, &[0; 16_384]).repeat(16);
    raw.send(&[frame(HEADERS, END_HEADERS, 1, &fields(&head)), body].concat()).await;
    let came = outcome(&mut raw).await;
    assert!(Must::Reset(&[FLOW]).allows(came), "{came:?}");
    assert_ne!(came, Came::Status(Some(200)));
}

#[tokio::test]
async fn a_listener_for_http2_alone_takes_nothing_else() {
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["services"]["web"]["haproxy"]["bind_options"] = "proto h2".into();
    })
    .await;
    let mut other = Raw::bare(web.front).await;
    other.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while let Some(frame) = other.next().await {
        assert!([SETTINGS, GOAWAY, WINDOW_UPDATE].contains(&frame.kind), "{frame:?}");
    }
    assert_eq!(web.server.requests(), 0);
    let mut raw = Raw::open(web.front).await;
    raw.send(&get()).await;
    assert_eq!(outcome(&mut raw).await, Came::Status(Some(200)));
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let lab = Lab::new().await;
    let web = web_with(&lab, &[], |all| {
        all["haproxy"]["global"] = json!(["tune.h2.max-concurrent-streams 10"]);
    })
    .await;
    let mut raw = Raw::open(web.front).await;
    for stream in 0..11 {
        raw.send(&ask("POST", 0, stream * 2 + 1)).await;
    }
    let Came::Reset(code) = outcome(&mut raw).await else { panic!("the eleventh is refused") };
    assert!([REFUSED, PROTOCOL].contains(&code), "{code}");
}

#[tokio::test]
async fn a_clients_window_is_kept_to() {
    let lab = Lab::new().await;
    let web = web_called(&lab, "origin-A").await;
    let mut raw = Raw::open_with(web.front, &[(4, 3)]).await;
    raw.send(&get()).await;
    let mut data = Vec::new();
    while data.len() < 8 {
        let frame = raw.next().await.expect("data");
        if frame.kind == DATA {
            assert!(frame.payload.len() <= 3, "{frame:?}");
            data.extend(frame.payload);
            raw.send(&grow(1, 3)).await;
        }
    }
    assert_eq!(data, b"origin-A");
}
