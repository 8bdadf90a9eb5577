//! Files and pipes: shared ones, moved ones, those that cannot be opened or written to.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::*;
use crate::telemetry::access::Record;

#[tokio::test]
async fn targets_get_the_levels_that_they_take() {
    let dir = Dir::new("levels");
    let (all, errors) = (dir.path("all"), dir.path("errors"));
    let picky = Target { max_level: Level::ERR, ..file(&errors) };
    let log = log_to(vec![file(&all), picky]);
    let log = Arc::new(AccessLog { separate_errors: true, ..AccessLog::clone(&log) });
    let writer = Writer::start();
    let mut pen = Pen::to(writer.clone());
    pen.write(&log, &request(b"GET /good HTTP/1.1"));
    pen.write(&log, &Record { retries: 1, ..request(b"GET /bad HTTP/1.1") });
    drop(pen);
    assert!(writer.finish(LONG).await);
    assert_eq!((lines_of(&all), lines_of(&errors)), (2, 1));
    assert!(std::fs::read_to_string(errors).unwrap().contains("GET /bad"));
}

#[tokio::test]
async fn services_with_different_targets_share_a_writer() {
    let dir = Dir::new("shared");
    let writer = Writer::start();
    let paths: Vec<PathBuf> = (0..40).map(|n| dir.path(&n.to_string())).collect();
    let common = dir.path("common");
    let logs: Vec<_> = paths.iter().map(|path| log_to(vec![file(path), file(&common)])).collect();
    let mut pen = Pen::to(writer.clone());
    for round in 0..3 {
        for log in &logs {
            pen.write(log, &request(format!("GET /{round} HTTP/1.1").as_bytes()));
        }
    }
    drop(pen);
    assert!(writer.finish(LONG).await);
    assert!(paths.iter().all(|path| lines_of(path) == 3));
    assert_eq!(lines_of(&common), 120);
    let text = std::fs::read_to_string(&common).unwrap();
    let rounds: Vec<&str> = text.lines().map(|line| line.rsplit('/').nth(1).unwrap()).collect();
    assert!(rounds.is_sorted(), "lines keep their order");
}

#[tokio::test]
async fn a_moved_file_is_left_alone_after_a_reopen() {
    let dir = Dir::new("reopen");
    let (path, moved) = (dir.path("log"), dir.path("log.1"));
    let (writer, log) = (Writer::start(), log_to(vec![file(&path)]));
    write(&writer, &log, 3).await;
    std::fs::rename(&path, &moved).unwrap();
    write(&writer, &log, 2).await;
    assert_eq!(lines_of(&moved), 5, "the descriptor is still that of the moved file");
    writer.tell(Message::Reopen).await;
    write(&writer, &log, 4).await;
    assert_eq!((lines_of(&moved), lines_of(&path)), (5, 4));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_anew_is_written_to_until_it_can() {
    let dir = Dir::new("kept");
    let (path, moved) = (dir.path("here/log"), dir.path("there"));
    let here = path.parent().unwrap();
    std::fs::create_dir(here).unwrap();
    let (writer, log) = (Writer::start(), log_to(vec![file(&path)]));
    write(&writer, &log, 3).await;
    std::fs::rename(here, &moved).unwrap();
    writer.tell(Message::Reopen).await;
    write(&writer, &log, 2).await;
    assert_eq!(lines_of(&moved.join("log")), 5, "nothing is lost");
    std::fs::create_dir(here).unwrap();
    write(&writer, &log, 4).await;
    assert_eq!((lines_of(&moved.join("log")), lines_of(&path)), (5, 4));
}

#[tokio::test]
async fn only_what_is_named_stays_open() {
    let dir = Dir::new("tidy");
    let (used, unused) = (dir.path("used"), dir.path("unused"));
    let is_open = |path: &Path| {
        let mut open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.any(|fd| std::fs::read_link(fd.unwrap().path()).is_ok_and(|to| to == path))
    };
    let writer = Writer::start();
    let (stays, goes) = (log_to(vec![file(&used)]), log_to(vec![file(&unused)]));
    for log in [&stays, &goes] {
        write(&writer, log, 1).await;
    }
    writer.tell(Message::Reopen).await;
    assert!(writer.finish(LONG).await && is_open(&unused), "it is opened anew all the same");
    writer.tell(Message::Keep([file(&used)].into())).await;
    assert!(writer.finish(LONG).await && is_open(&used) && !is_open(&unused));
    // Of a session that began before.
    write(&writer, &goes, 1).await;
    assert!(lines_of(&unused) == 2 && !is_open(&unused) && is_open(&used));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_costs_lines_until_it_can() {
    let dir = Dir::new("unopened");
    let path = dir.path("later/log");
    let (writer, log) = (Writer::start(), log_to(vec![file(&path)]));
    let before = Loss::File.total();
    write(&writer, &log, 10).await;
    assert!(Loss::File.total() >= before + 10);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    write_until(&writer, &log, || lines_of(&path) > 0).await;
}

/// Neither one that nobody has opened nor one that its reader has forgotten; when somebody reads, lines come.
#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_up_nobody() {
    let dir = Dir::new("pipe");
    let (pipe, other) = (dir.path("pipe"), dir.path("log"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (writer, log) = (Writer::start(), log_to(vec![file(&pipe), file(&other)]));
    let before = Loss::File.total();
    write(&writer, &log, 1000).await;
    assert!(Loss::File.total() >= before + 1000);
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&pipe)
        .unwrap();
    write_until(&writer, &log, || (&reader).read(&mut [0; 4096]).is_ok_and(|n| n > 0)).await;
    let (before, written) = (Loss::File.total(), lines_of(&other));
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        write(&writer, &log, 50).await;
    }
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    assert_eq!(lines_of(&other), written + 5000);
    assert!(Loss::File.total() > before, "a pipe has room for some 64 kB");
    while (&reader).read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    write_until(&writer, &log, || (&reader).read(&mut [0; 4096]).is_ok_and(|n| n > 0)).await;
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let dir = Dir::new("full");
    let path = dir.path("log");
    let full = Target::raw(Place::File("/dev/full".into()));
    let (writer, log) = (Writer::start(), log_to(vec![full, file(&path)]));
    let before = Loss::File.total();
    for _ in 0..20 {
        write(&writer, &log, 10).await;
    }
    assert!(Loss::File.total() >= before + 200);
    assert_eq!(lines_of(&path), 200);
}
