//! What the pages show.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::admin::when::Now;
use crate::registration::Phase;
use crate::registry::{Session, SessionState};

#[tokio::test]
async fn ready_means_heard_and_settled_or_waiting_for_a_known_reason() {
    let nerve = Socket::new("ready", vec![up("search"), down("ads")]);
    assert_eq!(nerve.ask("GET /ready", b"").await, (200, "ready\n".into()));

    nerve.script.services.lock().unwrap().push(unheard("new"));
    let (status, text) = nerve.ask("GET /ready", b"").await;
    assert_eq!((status, text.as_str()), (503, "not ready\nservice new: no verdict yet\n"));

    let mut changing = up("new");
    changing.registration.phase = Phase::Changing;
    nerve.script.services.lock().unwrap()[2] = changing.clone();
    let (status, text) = nerve.ask("GET /ready", b"").await;
    assert_eq!(status, 503);
    assert!(text.contains("service new: wanted present, registration changing"), "{text}");

    let now = Instant::now();
    let earlier = now - Duration::from_secs(6);
    let with_session = |state, since| Some(Session { state, since, ..session() });
    changing.session = with_session(SessionState::Connected, earlier);
    changing.registration.trouble = Some("zk1:2181: connection refused".into());
    nerve.script.services.lock().unwrap()[2] = changing;
    let answer = nerve.json("GET /ready?format=json", b"").await;
    assert_eq!(answer["ready"], true);
    let waiting = "service new: registration changing: zk1:2181: connection refused";
    assert_eq!(answer["waiting"], json!([waiting]));

    // A start: the next packet may bring the session, or the node.
    for state in [SessionState::Connecting, SessionState::Connected] {
        for (since, status) in [(now, 503), (earlier, 200)] {
            nerve.script.services.lock().unwrap()[2].session = with_session(state, since);
            assert_eq!(nerve.ask("GET /ready", b"").await.0, status, "{state:?}");
        }
    }

    nerve.script.missing.lock().unwrap().push("stopping".into());
    assert_eq!(nerve.ask("GET /ready", b"").await.0, 503);
}

#[test]
fn every_state_has_its_word() {
    assert_eq!(diagnosis::state(&up("a")), "UP");
    assert_eq!(diagnosis::state(&down("a")), "DOWN");
    assert_eq!(diagnosis::state(&unheard("a")), "CHECKING");
    let mut held = up("a");
    held.watch.suppressed_until = Some(fixture::then());
    assert_eq!(diagnosis::state(&held), "HELD");
    let mut blocked = up("a");
    blocked.registration.phase = Phase::Blocked;
    let reason = "checks pass; registration blocked: somebody else's node stands in its place";
    assert_eq!(diagnosis::reason(&blocked), reason);
}

#[tokio::test]
async fn the_status_page_shows_everything_at_a_glance() {
    let mut odd = up("<script>\u{1b}[31m");
    odd.watch.reason = "\"quoted\" & <b>".into();
    let script = Script::new(vec![up("search"), down("ads"), odd]);
    let (_running, addr) = on_tcp(&script, false).await;
    let (status, text) = over_tcp(addr, "GET /", &[]).await;
    assert_eq!(status, 200);
    for shown in [
        "instance i-1",
        "ready\n",
        "refused: services.old",
        "zookeeper zk1:2181",
        "L7STS 503: status 503",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let (_, html) = over_tcp(addr, "GET /", &[("accept", "text/html")]).await;
    assert!(html.contains("http-equiv=\"refresh\""), "{html}");
    assert!(html.contains("<b class=\"DOWN\">DOWN</b>"), "{html}");
    assert!(!html.contains("<script") && !html.contains('\u{1b}'), "{html}");
    assert!(!html.contains("http://") && !html.contains("src="), "no assets: {html}");
}

/// To look at it: `NERVE_PAGE=/tmp/page.html cargo test --lib nerve::tests::pages::the_page`.
#[tokio::test]
async fn the_page_can_be_written_to_a_file_for_a_browser() {
    use http_body_util::BodyExt as _;

    use super::super::desk::Desk as _;

    let mut held = up("mail");
    held.watch.penalty = 3.4;
    held.watch.suppressed_until = Some(fixture::then());
    held.watch.reason = "held back by flap damping for 14 s (penalty 3.4)".into();
    let script =
        Script::new(vec![up("search"), down("ads"), held, unheard("svc.main:10.0.0.1:80")]);
    script
        .down("search", super::super::desk::DownRequest { lasting: None, reason: "deploy".into() })
        .await
        .unwrap();
    let answer = page::html(&script.process(), &script.services());
    let html = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(html.ends_with(b"</html>\n"));
    if let Some(path) = std::env::var_os("NERVE_PAGE") {
        std::fs::write(path, html).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_shape_of_a_service_is_as_documented() {
    let mut now = Now::read();
    now.system = fixture::then() + Duration::from_millis(1500);
    let shape = serde_json::to_value(shape::service(&down("ads"), now)).unwrap();
    let documented: Value = serde_json::from_str(&documented("json shape")).unwrap();
    assert_eq!(shape, documented);
    let order = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&shape), order(&documented));
    let read: ServiceShape = serde_json::from_value(json!({"name": "a", "new_key": 1})).unwrap();
    assert_eq!(read.name, "a", "readers take what they do not know and miss");
}
