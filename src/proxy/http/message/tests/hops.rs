//! What is said about a connection and stays on it: whether it is kept, upgrades, logins.

use super::super::response::Asked;
use super::super::{Upgrade, Version};
use super::{ASKED, answer, ask, get, lines, ok, post};

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let (request, out) = get(
        "Connection: X-Hop, keep-alive\r\nconnection: x-other\r\nx-hop: 1\r\nX-Other: 1\r\n\
         Keep-Alive: 300\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\nUpgrade: foo\r\nX-Stays: 1\r\n",
    )
    .unwrap();
    assert_eq!(lines(&out), ["Host: a", "X-Stays: 1", "te: trailers"]);
    assert!(request.keep_alive);
    let (_, out) = get("TE: trailers\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a", "TE: trailers"]);
    // An empty element is legal; who comes after us need not know that.
    let (_, out) = get("TE:, trailers\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a", "te: trailers"]);
    let (_, out) = get("TE: gzip\r\n").unwrap();
    assert_eq!(lines(&out), ["Host: a"]);
    // Framing and host cannot be named away.
    let (_, out) =
        post("content-length: 5\r\nconnection: content-length, host, transfer-encoding\r\n")
            .unwrap();
    assert_eq!(lines(&out), ["Host: a", "content-length: 5"]);
}

#[test]
fn the_client_says_whether_it_stays() {
    let keeps = |version: &str, connection: &str| {
        let input = format!("GET / HTTP/{version}\r\nhost: a\r\n{connection}\r\n");
        ask(&input).unwrap().0.keep_alive
    };
    assert!(keeps("1.1", "") && !keeps("1.1", "connection: foo, CLOSE\r\n"));
    assert!(!keeps("1.0", "") && keeps("1.0", "connection: Keep-Alive\r\n"));
    assert!(!keeps("1.0", "connection: keep-alive, close\r\n"));
}

#[test]
fn an_upgrade_is_kept_only_when_asked_for_properly() {
    let ask = |lines: &str| get(lines).map(|(r, out)| (r.upgrade, out.contains("pgrade: ")));
    let full = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n";
    assert_eq!(ask(full), Ok((Upgrade::WebSocket, true)));
    assert!(get(full).unwrap().1.ends_with("\r\nconnection: upgrade\r\n\r\n"));
    assert_eq!(ask("Connection: Upgrade\r\nUpgrade: websocket\r\n"), Err(400));
    let empty = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: \r\n";
    assert_eq!(ask(empty), Err(400));
    assert_eq!(ask("Upgrade: foo\r\n"), Ok((Upgrade::No, false)));
    assert_eq!(ask("Connection: upgrade\r\nUpgrade: h2c\r\n"), Ok((Upgrade::No, false)));
    assert_eq!(
        ask("Connection: upgrade\r\nUpgrade: foo\r\nUpgrade: h2c\r\n"),
        Ok((Upgrade::No, false))
    );
    assert_eq!(ask("Connection: upgrade\r\nUpgrade: foo\r\n"), Ok((Upgrade::Other, true)));
}

#[test]
fn who_was_asked_in_http_1_0_says_so_when_it_stays() {
    let asked = Asked { version: Version::V10, sent: Version::V10, ..ASKED };
    for (lines, keeps) in [
        ("content-length: 5", false),
        ("content-length: 5\r\nconnection: keep-alive", true),
        ("connection: keep-alive", false),
        ("transfer-encoding: chunked\r\nconnection: keep-alive", false),
    ] {
        let (response, _) = answer(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), asked).unwrap();
        assert_eq!(response.keep_backend, keeps, "{lines:?}");
    }
}

#[test]
fn hops_are_kept_independently() {
    let (response, out) =
        ok("content-length: 5\r\nconnection: close, x-hop\r\nx-hop: 1\r\nupgrade: h2c\r\n")
            .unwrap();
    assert!(!response.keep_backend && response.keep_client);
    assert_eq!(lines(&out), ["content-length: 5"]);
    let asked = Asked { keep_alive: false, ..ASKED };
    let (_, out) = answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", asked).unwrap();
    assert_eq!(lines(&out), ["content-length: 5", "connection: close"]);
    let (response, _) =
        answer("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\n", ASKED)
            .unwrap();
    assert!(response.keep_backend);
    // HTTP/1.0 has no chunks (RFC 9112 6.1).
    let old = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(!answer(old, ASKED).unwrap().0.keep_backend);
}

#[test]
fn a_login_to_a_connection_is_known() {
    for (line, expected) in [
        ("Authorization: NTLM TlRM", true),
        ("authorization: negotiate YII=", true),
        ("Proxy-Authorization: Negotiate YII=", true),
        ("Authorization: Basic bnRsbQ==", false),
        ("Authorization: Nego2 x", true),
        ("Authorization: Bearer ntlm", false),
        ("X-Authorize: NTLM", false),
    ] {
        assert_eq!(get(&format!("{line}\r\n")).unwrap().0.is_login, expected, "{line}");
    }
    for (line, expected) in [
        ("WWW-Authenticate: NTLM", true),
        ("www-authenticate: Basic realm=\"a\", Negotiate", true),
        ("WWW-Authenticate: Basic realm=a\r\nwww-authenticate: ntlm TlRM", true),
        ("Proxy-Authenticate: Negotiate", true),
        ("WWW-Authenticate: Digest realm=\"NTLM\"", false),
        ("X-WWW-Authentic: NTLM", false),
    ] {
        let head = format!("HTTP/1.1 401 x\r\ncontent-length: 0\r\n{line}\r\n\r\n");
        assert_eq!(answer(&head, ASKED).unwrap().0.is_login, expected, "{line}");
    }
}

#[test]
fn an_answer_may_switch_only_as_asked() {
    let switch = |upgrade, lines: &str| {
        let head = format!("HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n{lines}\r\n");
        answer(&head, Asked { upgrade, ..ASKED }).map(|(_, out)| out)
    };
    assert!(switch(Upgrade::No, "").is_err());
    assert!(switch(Upgrade::WebSocket, "").is_err());
    assert!(switch(Upgrade::WebSocket, "sec-websocket-accept: z\r\n").is_ok());
    for (half, is_enough) in [("upgrade: y\r\n", false), ("connection: upgrade\r\n", true)] {
        let head = format!("HTTP/1.1 101 x\r\n{half}sec-websocket-accept: z\r\n\r\n");
        for upgrade in [Upgrade::WebSocket, Upgrade::Other] {
            assert_eq!(answer(&head, Asked { upgrade, ..ASKED }).is_ok(), is_enough, "{head:?}");
        }
    }
    let out = switch(Upgrade::Other, "").unwrap();
    assert_eq!(lines(&out), ["upgrade: y", "connection: upgrade"]);
}

#[test]
fn what_a_client_should_speak_is_said() {
    let lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n";
    let head = format!("HTTP/1.1 426 Upgrade Required\r\n{lines}\r\n");
    let said = |keep_alive| answer(&head, Asked { keep_alive, ..ASKED }).unwrap().1;
    let of = |text: &str| {
        let mut lines: Vec<_> = text.lines().skip(1).map(str::to_lowercase).collect();
        lines.sort_unstable();
        lines.join(",")
    };
    assert_eq!(of(&said(true)), ",connection: upgrade,content-length: 0,upgrade: websocket");
    assert_eq!(
        of(&said(false)),
        ",connection: upgrade, close,content-length: 0,upgrade: websocket"
    );
}
