//! The command line against scripted nerves on real sockets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;

use super::*;
use crate::admin::nerve::fixture::{Running, Script, directory, documented, down, on_unix, up};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: ClientCommand,
}

/// A `state_dir` with slots; those without a script are dead.
struct Slots {
    dir: PathBuf,
    _running: Vec<Running>,
}

impl Slots {
    fn new(name: &str, scripts: &[Option<&Arc<Script>>]) -> Self {
        let dir = directory(name);
        let mut running = Vec::new();
        for (slot, script) in scripts.iter().enumerate() {
            let slot = dir.join(format!("{}{slot}", socket::SLOT_PREFIX));
            std::fs::create_dir(&slot).unwrap();
            match script {
                Some(script) => running.push(on_unix(script, &slot.join(socket::SOCKET))),
                None => drop(socket::bind(&slot).unwrap()),
            }
        }
        std::fs::write(dir.join("slot-x"), "a file, no slot").unwrap();
        Self { dir, _running: running }
    }

    /// Everything that a run would print, and whether it would exit 0.
    async fn run(&self, words: &[&str]) -> Said {
        let command = parse(&self.dir, words).unwrap();
        let call = call_for(&command).unwrap();
        let sockets = sockets(&command.reach().place).unwrap();
        let replies = call::all(&call, &sockets).await;
        Said {
            asked: replies.len(),
            text: report::text(&command, &replies),
            json: serde_json::from_str(&report::json(&replies)).unwrap(),
            failures: report::failures(&replies),
            is_done: report::is_done(&replies),
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

struct Said {
    asked: usize,
    text: String,
    json: serde_json::Value,
    failures: Vec<String>,
    is_done: bool,
}

fn parse(dir: &Path, words: &[&str]) -> Result<ClientCommand, clap::Error> {
    let dir = dir.to_str().unwrap();
    let place = ["--state-dir", dir];
    let words = ["nerve"].iter().chain(words).chain(&place).copied();
    Arguments::try_parse_from(words).map(|arguments| arguments.command)
}

#[tokio::test]
async fn down_reaches_every_living_slot() {
    let (one, two) = (Script::new(vec![up("svc.a:1")]), Script::new(vec![up("svc.a:1")]));
    let slots = Slots::new("cli-down", &[Some(&one), None, Some(&two)]);
    let said = slots.run(&["down", "svc.a:1", "--for", "30s", "--reason", "a deploy & more"]).await;
    assert!(said.is_done && said.failures.is_empty(), "{:?}", said.failures);
    assert_eq!(said.asked, 2);
    assert_eq!(
        said.text,
        "slot-0:\nsvc.a:1: MAINT, registration absent: down by an operator: a deploy & more; ends by itself at 2026-01-01T00:00:30.000Z\n\
         slot-2:\nsvc.a:1: MAINT, registration absent: down by an operator: a deploy & more; ends by itself at 2026-01-01T00:00:30.000Z\n"
    );
    assert_eq!(said.json[1]["answer"]["state"], "MAINT");
    for script in [&one, &two] {
        assert_eq!(script.orders(), ["down svc.a:1 Some(30s) a deploy & more"]);
    }
    assert!(slots.run(&["up", "svc.a:1"]).await.is_done);
}

#[tokio::test]
async fn one_that_does_not_know_the_service_is_no_failure_unless_all_do_not() {
    let (one, two) = (Script::new(vec![up("search")]), Script::new(vec![up("ads")]));
    let slots = Slots::new("cli-unknown", &[Some(&one), Some(&two)]);
    let said = slots.run(&["down", "search"]).await;
    assert!(said.is_done && said.failures.is_empty());
    assert_eq!(
        said.text,
        "search: MAINT, registration absent: down by an operator: ; until `nerve up`\n"
    );
    let said = slots.run(&["down", "serach"]).await;
    assert!(!said.is_done);
    assert_eq!(said.failures.len(), 2);
    assert!(
        said.failures[0].ends_with("no service \"serach\"; nearest: search"),
        "{:?}",
        said.failures
    );
    assert!(said.text.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_is_a_failure_although_the_other_has_done_it() {
    let (one, two) = (Script::new(vec![up("search")]), Script::new(vec![up("search")]));
    two.hangs.send_replace(true);
    let slots = Slots::new("cli-hangs", &[Some(&one), Some(&two)]);
    let said = slots.run(&["down", "search"]).await;
    assert!(!said.is_done);
    assert_eq!(said.failures.len(), 1);
    assert!(
        said.failures[0].contains("slot-1/nerve.sock: not acknowledged"),
        "{:?}",
        said.failures
    );
}

#[tokio::test]
async fn status_is_a_table_or_json() {
    let script = Script::new(vec![up("search"), down("ads")]);
    let slots = Slots::new("cli-status", &[Some(&script)]);
    let said = slots.run(&["status"]).await;
    assert!(said.text.starts_with("SERVICE "), "{}", said.text);
    assert!(said.text.contains("L7STS 503: status 503, took 2 ms"), "{}", said.text);
    assert_eq!(said.json[0]["status"], 200);
    assert_eq!(said.json[0]["answer"][1]["name"], "ads");
    let said = slots.run(&["status", "ads"]).await;
    assert!(
        said.text.contains("\nplace: zookeeper zk1:2181,zk2:2181/nerve/services/ads"),
        "{}",
        said.text
    );
    assert!(
        said.text.contains("session: 0x1000000100020003 connected, number 2\n"),
        "{}",
        said.text
    );
}

#[tokio::test]
async fn register_and_deregister() {
    let script = Script::new(Vec::new());
    let slots = Slots::new("cli-register", &[Some(&script)]);
    let file = slots.dir.join("web.json");
    std::fs::write(&file, r#"{"port": 80}"#).unwrap();
    let said = slots.run(&["register", "web", file.to_str().unwrap(), "--ttl", "2m"]).await;
    assert!(said.is_done, "{:?}", said.failures);
    assert_eq!(
        said.text,
        "web: UP, registration registered: checks pass; ends at 2026-01-01T00:02:00.000Z unless it is renewed\n"
    );
    let said = slots.run(&["deregister", "web"]).await;
    assert_eq!(said.text, "web: deregistered\n");
    std::fs::write(&file, "{}").unwrap();
    let said = slots.run(&["register", "web", file.to_str().unwrap()]).await;
    assert_eq!(said.failures, ["request: port: is missing\n  request: zk_path: is missing"]);
    assert_eq!(script.orders()[0], r#"put web 120s {"port":80}"#);
}

#[test]
fn wrong_usage_is_told_by_the_parser() {
    let dir = Path::new("/nowhere");
    for words in [
        &["down"][..],
        &["down", "a", "--for", "soon"],
        &["down", "a", "--socket", "/x"],
        &["register", "a"],
        &["register", "a", "-", "--ttl", "-1s"],
    ] {
        let error = parse(dir, words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
    assert!(parse(dir, &["status", "a", "--json"]).unwrap().reach().json);
}

#[test]
fn the_documented_commands_are_understood() {
    for line in documented("sh nerve").lines() {
        let words = line.replace("'deploy 1234'", "deploy").replace("--socket /", "--socket=/");
        let parsed = Arguments::try_parse_from(words.split_whitespace());
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let missing = directory("cli-nobody").join("none");
    let command = parse(&missing, &["status"]).unwrap();
    assert_eq!(run(command), ExitCode::from(EXIT_FAILED));
    assert_eq!(
        ClientError::NobodyInDir("/var/lib/nerve".into()).to_string(),
        "no nerve is running with state_dir /var/lib/nerve (start one, or name its --state-dir)"
    );
}

#[test]
fn definitions_are_bounded() {
    let dir = directory("cli-large");
    let file = dir.join("large.json");
    std::fs::write(&file, vec![b' '; MAX_BODY_BYTES + 1]).unwrap();
    assert!(matches!(read(&file), Err(ClientError::TooLarge(_))));
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(read(&file).unwrap(), b"{}");
    assert!(matches!(read(&dir.join("none")), Err(ClientError::File { .. })));
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_done_or_refused() {
    let script = Script::new(vec![up("search")]);
    let slots = Slots::new("cli-exit", &[Some(&script), None]);
    let socket = slots.dir.join("slot-0").join(socket::SOCKET);
    let dead = slots.dir.join("slot-1").join(socket::SOCKET);
    for (words, socket, code) in [
        (&["down", "search"][..], &socket, 0),
        (&["up", "search", "--json"], &socket, 0),
        (&["up", "serach"], &socket, EXIT_FAILED),
        (&["up", "search"], &dead, EXIT_FAILED),
    ] {
        let place = ["--socket", socket.to_str().unwrap()];
        let words = ["nerve"].iter().chain(words).chain(&place).copied();
        let command = Arguments::try_parse_from(words).unwrap().command;
        let ended = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
        assert_eq!(ended, ExitCode::from(code), "{socket:?}");
    }
}
