//! Who may ask what, and how.

use std::time::Duration;

use tokio::process::Command;

use super::*;

#[tokio::test]
async fn over_tcp_reading_is_open_and_commands_need_the_switch() {
    let script = Script::new(vec![up("search")]);
    let (_off, addr) = on_tcp(&script, false).await;
    assert_eq!(over_tcp(addr, "GET /v1/services/search", &[]).await.0, 200);
    let (status, text) = over_tcp(addr, "POST /v1/services/search/down", &[]).await;
    assert_eq!(status, 403);
    assert!(text.contains("push: true"), "{text}");
    let (_on, addr) = on_tcp(&script, true).await;
    assert_eq!(over_tcp(addr, "POST /v1/services/search/down", &[]).await.0, 200);
    assert_eq!(script.orders(), ["down search None "]);
}

#[tokio::test]
async fn browsers_are_refused() {
    let script = Script::new(vec![up("search")]);
    let (_on, addr) = on_tcp(&script, true).await;
    for headers in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("host", "evil.example:3211")],
        &[("host", "")],
    ] {
        for request in ["POST /v1/services/search/down", "DELETE /v1/services/search"] {
            let (status, text) = over_tcp(addr, request, headers).await;
            assert_eq!(status, 403, "{request} {headers:?}: {text}");
        }
    }
    let read = over_tcp(addr, "GET /v1/services", &[("origin", "http://evil.example")]).await;
    assert_eq!(read.0, 403);
    let nerve = Socket::new("origin", vec![up("search")]);
    let stream = UnixStream::connect(&nerve.path).await.unwrap();
    let headers = [("origin", "http://localhost")];
    let (status, _, text) = talk(stream, "POST /v1/services/search/up", &headers, b"").await;
    assert_eq!(status, 403);
    assert_eq!(text, "requests with an Origin header come from a browser and are refused\n");
    assert!(script.orders().is_empty() && nerve.script.orders().is_empty());
}

/// Only root can become somebody else; without it, the rule alone is tested (`access`).
#[tokio::test]
async fn other_users_may_read_and_not_command() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let nerve = Socket::new("nobody", vec![up("search")]);
    let curl = async |arguments: &[&str]| {
        let output = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "curl",
                "-sS",
                "--unix-socket",
            ])
            .arg(&nerve.path)
            .args(["-w", "%{http_code}"])
            .args(arguments)
            .output()
            .await
            .expect("setpriv and curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let read = curl(&["http://localhost/v1/services/search?format=text"]).await;
    assert!(read.ends_with("200") && read.contains("checks pass"), "{read}");
    for arguments in [
        &["-X", "POST", "http://localhost/v1/services/search/down"][..],
        &["-X", "DELETE", "http://localhost/v1/services/search"],
        &["-X", "PUT", "-d", "{}", "http://localhost/v1/services/web"],
    ] {
        assert_eq!(
            curl(arguments).await,
            "only root and uid 0, which nerve runs as, may do this (you are uid 65534); try sudo\n403"
        );
    }
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn head_has_no_body_and_other_methods_are_refused() {
    let nerve = Socket::new("head", vec![up("search")]);
    for path in ["/", "/live", "/ready", "/metrics", "/v1/services", "/v1/services/search"] {
        let (status, body) = nerve.ask(&format!("HEAD {path}"), b"").await;
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
    }
    for (request, allow) in [
        ("POST /v1/services", "GET, HEAD"),
        ("GET /v1/services/search/down", "POST"),
        ("PATCH /v1/services/search", "GET, HEAD, PUT, DELETE"),
    ] {
        let stream = UnixStream::connect(&nerve.path).await.unwrap();
        let (status, head, _) = talk(stream, request, &[], b"").await;
        assert_eq!(status, 405, "{request}");
        assert!(head.contains(&format!("allow: {allow}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn stop_ends_the_server_on_a_unix_socket_too() {
    let mut nerve = Socket::new("stop", Vec::new());
    let mut idle = UnixStream::connect(&nerve.path).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();
    nerve.running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), &mut nerve.running.task).await.unwrap().unwrap();
}
