use std::rc::Rc;

use super::super::testing::{log_to, request};
use super::super::{AccessLog, Http, Level, Place, Stage, Target};
use super::*;

fn plain() -> AccessLog {
    AccessLog::plain("f", Format::Http, Place::Stdout)
}

#[test]
fn what_went_wrong_is_known_as_haproxy_knows_it() {
    let good = request(b"GET / HTTP/1.1");
    let status = |status| Record {
        http: good.http.map(|http| Http { status: Some(status), ..http }),
        ..good
    };
    let log = AccessLog { separate_errors: true, ..plain() };
    for (record, expected) in [
        (good, Level::INFO),
        (status(404), Level::INFO),
        (status(500), Level::ERR),
        (Record { cause: Cause::Local, ..good }, Level::INFO),
        (Record { cause: Cause::ClientTimeout, stage: Stage::Data, ..good }, Level::ERR),
        (Record { retries: 1, ..good }, Level::ERR),
        (Record { redispatched: true, ..good }, Level::ERR),
    ] {
        assert_eq!(level(&log, &record), Some(expected), "{record:?}");
        assert_eq!(level(&plain(), &record), Some(Level::INFO));
        let wanted = level(&AccessLog { skip_normal: true, ..plain() }, &record).is_some();
        assert_eq!(wanted, expected == Level::ERR);
    }
}

#[test]
fn null_connections_are_left_out_on_demand() {
    let log = AccessLog { skip_null: true, ..plain() };
    let nothing = Record { bytes_in: 0, http: None, ..request(b"") };
    assert_eq!(level(&log, &nothing), None);
    assert!(level(&plain(), &nothing).is_some());
    assert!(level(&log, &Record { bytes_in: 1, ..nothing }).is_some());
    assert!(level(&log, &request(b"GET /")).is_some());
}

#[test]
fn what_was_no_session_is_an_error_that_dontlog_normal_keeps() {
    let failure =
        |is_silent| Failure { client: None, socket: 1, begun: 0, took: 0, is_silent, text: "bad" };
    for (is_silent, log, wanted) in [
        (false, plain(), Some(Level::INFO)),
        (true, plain(), Some(Level::INFO)),
        (false, AccessLog { skip_normal: true, ..plain() }, Some(Level::INFO)),
        (false, AccessLog { separate_errors: true, ..plain() }, Some(Level::ERR)),
        (false, AccessLog { skip_null: true, ..plain() }, Some(Level::INFO)),
        (true, AccessLog { skip_null: true, ..plain() }, None),
        (false, AccessLog { format: Format::Connect, ..plain() }, None),
    ] {
        assert_eq!(level_of_failure(&log, &failure(is_silent)), wanted, "{is_silent} {log:?}");
    }
}

/// As haproxy 2.6 does with all three options.
#[test]
fn the_line_without_options_knows_no_end() {
    let log = AccessLog {
        format: Format::Connect,
        skip_null: true,
        skip_normal: true,
        separate_errors: true,
        ..plain()
    };
    let good = request(b"GET / HTTP/1.1");
    let session = Record { bytes_in: 0, http: None, ..good };
    for record in [good, Record { cause: Cause::Server, ..good }, session] {
        assert_eq!(level(&log, &record), Some(Level::INFO), "{record:?}");
    }
    let none = Record { http: good.http.map(|http| Http { line: None, ..http }), ..good };
    assert_eq!(level(&log, &none), None);
}

#[test]
fn a_level_that_no_target_takes_is_not_rendered() {
    let target = Target { max_level: Level::ERR, ..Target::raw(Place::Stdout) };
    let mut log = AccessLog::clone(&log_to(vec![target]));
    assert_eq!(level(&log, &request(b"GET /")), None);
    log.separate_errors = true;
    let bad = Record { cause: Cause::Server, ..request(b"GET /") };
    assert_eq!(level(&log, &bad), Some(Level::ERR));
}

#[tokio::test(start_paused = true)]
async fn lines_wait_a_moment_and_an_idle_pen_sleeps() {
    let dir = tempdir("waits");
    let file = dir.join("log");
    let log = log_to(vec![Target::raw(Place::File(file.clone()))]);
    let writer = Writer::start();
    let pen = Rc::new(std::cell::RefCell::new(Pen::to(writer.clone())));
    let lent = Rc::clone(&pen);
    let post = post_in_time(move |with| with(&mut lent.borrow_mut()));
    tokio::task::LocalSet::new()
        .run_until(async {
            drop(tokio::task::spawn_local(post));
            // Time stands still for the writer: it may not have read the first when the last is due.
            for round in 1..=BEHIND {
                pen.borrow_mut().write(&log, &request(b"GET / HTTP/1.1"));
                assert!(pen.borrow().open.is_some());
                tokio::time::sleep(MAX_WAIT * 3).await;
                assert!(pen.borrow().open.is_none(), "round {round}");
                assert!(!pen.borrow().is_awake);
            }
        })
        .await;
    tokio::time::resume();
    assert!(writer.finish(Duration::from_secs(10)).await);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), BEHIND);
    std::fs::remove_dir_all(dir).unwrap();
}

/// What holds up the writer does not hold up the worker.
#[tokio::test]
async fn a_pen_never_blocks_and_its_memory_is_bounded() {
    let dir = tempdir("blocks");
    let file = dir.join("log");
    let log = log_to(vec![Target::raw(Place::File(file.clone()))]);
    let (writer, hold) = Writer::held();
    let mut pen = Pen::to(writer.clone());
    let before = Loss::Queue.total();
    let lines: usize = 20_000;
    for _ in 0..lines {
        pen.write(&log, &request(b"GET /some/path/of/usual/length?with=parameters HTTP/1.1"));
    }
    let way = pen.way.as_ref().unwrap();
    assert_eq!(way.made, BATCHES);
    assert!(!writer.finish(Duration::from_millis(50)).await);
    let lost = usize::try_from(Loss::Queue.total() - before).unwrap();
    assert!(lost > lines / 2, "{lost} lost");
    // It goes on: what was on its way arrives, and what comes then.
    drop(hold);
    assert!(writer.finish(Duration::from_secs(10)).await);
    pen.write(&log, &request(b"GET /last HTTP/1.1"));
    drop(pen);
    assert!(writer.finish(Duration::from_secs(10)).await);
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.lines().count(), lines - lost + 1);
    assert!(text.lines().last().unwrap().ends_with("\"GET /last HTTP/1.1\""));
    std::fs::remove_dir_all(dir).unwrap();
}

/// A writer that is held up for long costs a quiet worker no line.
#[tokio::test]
async fn few_lines_wait_for_a_writer_that_is_behind() {
    let dir = tempdir("behind");
    let file = dir.join("log");
    let log = log_to(vec![Target::raw(Place::File(file.clone()))]);
    let (writer, hold) = Writer::held();
    let mut pen = Pen::to(writer.clone());
    let lines = BATCHES * 10;
    for _ in 0..lines {
        pen.write(&log, &request(b"GET / HTTP/1.1"));
        assert!(pen.post_when_due());
    }
    assert_eq!(pen.way.as_ref().unwrap().made, BEHIND + 1);
    drop(hold);
    drop(pen);
    assert!(writer.finish(Duration::from_secs(10)).await);
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), lines);
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn batches_and_their_buffers_are_used_again() {
    let dir = tempdir("again");
    let file = dir.join("log");
    let log = log_to(vec![Target::raw(Place::File(file.clone()))]);
    let writer = Writer::start();
    let mut pen = Pen::to(writer.clone());
    for _ in 0..100 {
        for _ in 0..BATCHES {
            pen.write(&log, &request(b"GET / HTTP/1.1"));
            pen.post();
        }
        assert!(writer.finish(Duration::from_secs(10)).await);
    }
    assert!(pen.way.as_ref().unwrap().made <= BATCHES);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 100 * BATCHES);
    std::fs::remove_dir_all(dir).unwrap();
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("access-pen-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
