//! Commands: what reaches the desk, and what is answered.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn down_and_up_reach_the_desk_and_show_what_came_of_it() {
    let nerve = Socket::new("downup", vec![up("search"), up("ads")]);
    let answer = nerve.json("POST /v1/services/search/down?for=30s&reason=a+deploy%21", b"").await;
    assert_eq!(answer["state"], "MAINT");
    assert_eq!(answer["registration"]["phase"], "absent");
    assert_eq!(
        answer["down"],
        json!({
            "reason": "a deploy!",
            "since": "2026-01-01T00:00:00.000Z",
            "until": "2026-01-01T00:00:30.000Z"
        })
    );
    let (status, text) = nerve.ask("GET /v1/services?format=text", b"").await;
    assert_eq!(status, 200);
    assert!(text.contains("down by an operator: a deploy!"), "{text}");
    let answer = nerve.json("POST /v1/services/search/up", b"").await;
    assert_eq!(answer["state"], "UP");
    assert_eq!(nerve.script.orders(), ["down search Some(30s) a deploy!", "up search"]);
}

#[tokio::test]
async fn yelps_names_are_found_escaped_and_not() {
    let nerve = Socket::new("names", vec![up("svc.main:10.0.0.1:80"), up("a/b")]);
    for name in ["svc.main:10.0.0.1:80", "svc%2Emain%3A10.0.0.1%3A80"] {
        let service = nerve.json(&format!("GET /v1/services/{name}"), b"").await;
        assert_eq!(service["name"], "svc.main:10.0.0.1:80");
        nerve.json(&format!("POST /v1/services/{name}/down"), b"").await;
    }
    nerve.json("POST /v1/services/a%2Fb/up", b"").await;
    assert_eq!(
        nerve.script.orders(),
        ["down svc.main:10.0.0.1:80 None ", "down svc.main:10.0.0.1:80 None ", "up a/b"]
    );
}

#[tokio::test]
async fn unknown_services_are_404_with_the_nearest_names() {
    let nerve = Socket::new("unknown", vec![up("search"), up("ads")]);
    for request in [
        "GET /v1/services/serach",
        "POST /v1/services/serach/down?for=1s",
        "POST /v1/services/serach/up",
        "DELETE /v1/services/serach",
    ] {
        let (status, text) = nerve.ask(request, b"").await;
        assert_eq!(status, 404, "{request}");
        assert_eq!(text, "no service \"serach\"; nearest: search\n");
    }
    let (status, text) = nerve.ask("GET /services", b"").await;
    assert_eq!(status, 404);
    assert!(text.contains("/v1/services/NAME/down"), "{text}");
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn bad_parameters_are_told_all_at_once_and_nothing_is_done() {
    let nerve = Socket::new("parameters", vec![up("search")]);
    for (request, body, complaint) in [
        ("POST /v1/services/search/down?for=0", "", "for: 0 is not between 100ms and 2592000s\n"),
        (
            "POST /v1/services/search/down?for=31d",
            "",
            "for: 31d is not between 100ms and 2592000s\n",
        ),
        (
            "POST /v1/services/search/down?for=-1s",
            "",
            "for: \"-1s\" is no duration such as 30s or 5m\n",
        ),
        ("POST /v1/services/search/down?for=", "", "for: \"\" is no duration such as 30s or 5m\n"),
        ("POST /v1/services/search/down?for=1s&for=2s", "", "for is given twice\n"),
        (
            "POST /v1/services/search/down?fro=30s&for=x",
            "for=30s",
            "no body is read here: parameters stand in the query\n\
             \"fro\" is no parameter here; there is for, reason\n\
             for: \"x\" is no duration such as 30s or 5m\n",
        ),
        ("POST /v1/services/search/up?for=1s", "", "\"for\" is no parameter here; there is none\n"),
        ("PUT /v1/services/web?ttl=10ms", "{}", "ttl: 10ms is not between 1s and 86400s\n"),
        ("PUT /v1/services/web", "[]", "the body is no JSON object: a service as in the file\n"),
        (
            "PUT /v1/services/web",
            "",
            "the body is no JSON: EOF while parsing a value at line 1 column 0\n",
        ),
        ("PUT /v1/services/", "{}", "a name has 1 to 200 bytes, not 0\n"),
    ] {
        let (status, text) = nerve.ask(request, body.as_bytes()).await;
        if request == "PUT /v1/services/" {
            assert_eq!(status, 405, "{text}");
            continue;
        }
        assert_eq!((status, text.as_str()), (400, complaint), "{request}");
    }
    let long = format!("POST /v1/services/search/down?reason={}", "x".repeat(257));
    assert_eq!(nerve.ask(&long, b"").await, (400, "reason: 257 bytes, at most 256\n".into()));
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn a_service_is_put_renewed_and_deleted() {
    let nerve = Socket::new("put", vec![up("search")]);
    let definition = br#"{"host": "10.0.0.1", "port": 80}"#;
    let put = nerve.json("PUT /v1/services/web.a:1?ttl=90s", definition).await;
    assert_eq!(put["pushed_until"], "2026-01-01T00:01:30.000Z");
    nerve.json("PUT /v1/services/web.a:1", definition).await;
    let (status, text) = nerve.ask("PUT /v1/services/web.b", b"{}").await;
    assert_eq!(
        (status, text.as_str()),
        (400, "request: port: is missing\nrequest: zk_path: is missing\n")
    );
    let deleted = nerve.json("DELETE /v1/services/web.a:1", b"").await;
    assert_eq!(deleted, json!({"name": "web.a:1", "deleted": true}));
    let (status, text) = nerve.ask("DELETE /v1/services/search", b"").await;
    assert_eq!(
        (status, text.as_str()),
        (409, "service \"search\" stands in the file: remove it there\n")
    );
    assert_eq!(
        nerve.script.orders()[..2],
        [
            r#"put web.a:1 90s {"host":"10.0.0.1","port":80}"#,
            r#"put web.a:1 60s {"host":"10.0.0.1","port":80}"#,
        ]
    );
}

#[tokio::test]
async fn a_name_with_control_characters_cannot_be_pushed() {
    let nerve = Socket::new("control", Vec::new());
    for name in ["a%0ab", "a%00", "%1b%5b2J", "a%C2%85b"] {
        let (status, text) = nerve.ask(&format!("PUT /v1/services/{name}"), b"{}").await;
        assert_eq!(status, 400, "{name}: {text}");
        assert!(text.contains("a name has no control characters"), "{text}");
    }
    assert!(nerve.script.orders().is_empty());
}

#[tokio::test]
async fn large_bodies_are_refused_announced_or_not() {
    let nerve = Socket::new("large", Vec::new());
    let large = vec![b' '; 64 * 1024 + 1];
    let (status, text) = nerve.ask("PUT /v1/services/web", &large).await;
    assert_eq!((status, text.as_str()), (413, "a body has 65536 bytes at most\n"));
    let stream = UnixStream::connect(&nerve.path).await.unwrap();
    let mut chunked = format!("{:x}\r\n", large.len()).into_bytes();
    chunked.extend(&large);
    let headers = [("transfer-encoding", "chunked")];
    let (status, _, text) = talk(stream, "PUT /v1/services/web", &headers, &chunked).await;
    assert_eq!((status, text.as_str()), (413, "a body has 65536 bytes at most\n"));
    let mut fits = br#"{"port": 1}"#.to_vec();
    fits.resize(64 * 1024, b' ');
    assert_eq!(nerve.ask("PUT /v1/services/web", &fits).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for() {
    let nerve = Socket::new("slow", Vec::new());
    let mut stream = UnixStream::connect(&nerve.path).await.unwrap();
    let head = b"PUT /v1/services/web HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 408");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_is_504_and_goes_on() {
    let nerve = Socket::new("hangs", vec![up("search")]);
    nerve.script.hangs.send_replace(true);
    let start = Instant::now();
    let (status, text) = nerve.ask("POST /v1/services/search/down", b"").await;
    assert_eq!(status, 504);
    assert_eq!(
        text,
        "not acknowledged by the registry within 10 s; it will be as soon as the registry is back\n"
    );
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!(nerve.script.orders(), ["down search None "]);
}

#[tokio::test]
async fn hanging_commands_leave_the_pages_alone() {
    let nerve = Socket::new("busy", vec![up("search")]);
    nerve.script.hangs.send_replace(true);
    let mut orders = nerve.script.orders.subscribe();
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let path = nerve.path.clone();
            tokio::spawn(async move {
                let stream = UnixStream::connect(path).await.unwrap();
                talk(stream, "POST /v1/services/search/down", &[], b"").await.0
            })
        })
        .collect();
    orders.wait_for(|orders| orders.len() == 32).await.unwrap();
    assert_eq!(nerve.ask("GET /v1/services", b"").await.0, 200);
    assert_eq!(nerve.ask("GET /live", b"").await, (200, "ok\n".into()));
    nerve.script.hangs.send_replace(false);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn the_documented_requests_work() {
    let nerve = Socket::new("documented", vec![up("search")]);
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &documented("sh push")])
        .env("SOCKET", &nerve.path)
        .output()
        .await
        .expect("bash and curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let orders = nerve.script.orders();
    let verbs: Vec<_> = orders.iter().filter_map(|order| order.split(' ').next()).collect();
    assert_eq!(verbs, ["down", "up", "put", "delete"]);
}
