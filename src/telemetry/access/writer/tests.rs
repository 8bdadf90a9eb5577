use std::io::Read as _;
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::*;
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::testing::{log_to, request};
use crate::telemetry::access::{
    AccessLog, Facility, Framing, Level, Pen, Place, Record, Tag, Target, written,
};

const LONG: Duration = Duration::from_secs(10);

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("access-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn file(path: &Path) -> Target {
    Target::raw(Place::File(path.to_owned()))
}

fn lines_of(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Writes `count` lines and waits until the writer is through with them.
async fn write(writer: &Writer, log: &Arc<AccessLog>, count: usize) {
    let mut pen = Pen::to(writer.clone());
    for _ in 0..count {
        pen.write(log, &request(b"GET / HTTP/1.1"));
    }
    drop(pen);
    assert!(writer.finish(LONG).await);
}

/// Writes a line at a time until `done`: an outage ends with a line.
async fn write_until(writer: &Writer, log: &Arc<AccessLog>, done: impl Fn() -> bool) {
    let all = async {
        while !done() {
            write(writer, log, 1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, all).await.unwrap();
}

fn head_of(target: &Target, level: Level) -> String {
    let mut out = Vec::new();
    let mut clock = Clock::in_zone(TimeZone::UTC);
    head::head(&mut out, target, level, 1_795_641_099_692, &mut clock);
    String::from_utf8(out).unwrap().replace(&std::process::id().to_string(), "28243")
}

#[test]
fn heads_are_haproxys() {
    let host = Some("myhost".into());
    let tag = Tag { program: "hap".into(), host };
    let base = Target { tag, facility: Facility(19), ..Target::raw(Place::Stdout) };
    // Sent by haproxy 2.6.12 with `log-tag hap`, `log-send-hostname myhost` and facility local3; there in microseconds.
    for (framing, expected) in [
        (Framing::Raw, ""),
        (Framing::Short, "<6>"),
        (Framing::Rfc3164, "<158>Nov 25 21:11:39 myhost hap[28243]: "),
        (Framing::Local, "<158>Nov 25 21:11:39 hap[28243]: "),
        (Framing::Rfc5424, "<158>1 2026-11-25T21:11:39.692000+00:00 myhost hap 28243 - - "),
        (Framing::Priority, "<158>"),
        (Framing::Iso, "2026-11-25T21:11:39.692000+00:00 "),
        (Framing::Timed, "<6>2026-11-25T21:11:39.692000+00:00 "),
    ] {
        let target = Target { framing, ..base.clone() };
        assert_eq!(head_of(&target, Level::INFO), expected);
    }
    let target = Target { framing: Framing::Priority, min_level: Level(5), ..base.clone() };
    assert_eq!(head_of(&target, Level::ERR), "<157>", "more severe than allowed");
    assert_eq!(head_of(&target, Level::INFO), "<158>");
    let nobody = Tag { host: None, ..base.tag.clone() };
    let target = Target { framing: Framing::Rfc5424, tag: nobody, ..base };
    assert!(head_of(&target, Level::INFO).contains("+00:00 - hap 28243 - - "));
}

#[test]
fn a_head_is_made_anew_when_it_shows_another_time_or_level() {
    let times = [1_000_u64, 1_001, 1_001, 2_000, 1_999];
    for framing in [Framing::Local, Framing::Rfc5424, Framing::Timed, Framing::Priority] {
        let target = Target { framing, ..Target::raw(Place::Stdout) };
        let mut clock = Clock::in_zone(TimeZone::UTC);
        let (mut shared, mut single) = (Vec::new(), Vec::new());
        let mut heads = head::Heads::default();
        for at in times {
            for level in [Level::INFO, Level::ERR, Level::ERR] {
                heads.push(&mut shared, (&target, &mut clock), level, at);
                head::head(&mut single, &target, level, at, &mut clock);
            }
        }
        assert_eq!(String::from_utf8(shared).unwrap(), String::from_utf8(single).unwrap());
    }
}

#[tokio::test]
async fn each_line_is_a_datagram_cut_at_its_length() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let addr = server.local_addr().unwrap().to_string();
    let whole = Target { framing: Framing::Local, ..Target::raw(Place::Udp(addr.into())) };
    let cut = Target { max_len: 100, ..whole.clone() };
    let writer = Writer::start();
    write(&writer, &log_to(vec![whole, cut]), 2).await;
    let mut buffer = [0; 2048];
    let mut received = |_| {
        let count = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let all: Vec<String> = (0..4).map(&mut received).collect();
    for text in &all[..2] {
        assert!(text.starts_with("<134>Nov 25 "), "{text}");
        assert!(text.ends_with("\"GET / HTTP/1.1\"\n"), "{text}");
    }
    for text in &all[2..] {
        // haproxy's `len 100`: 100 bytes and a line end.
        assert_eq!((text.len(), text.ends_with('\n')), (101, true));
        assert_eq!(text.as_bytes()[..100], all[0].as_bytes()[..100]);
    }
}

/// Writes lines about these requests in one batch, and what a syslog server of this host gets.
async fn through_udp(requests: &[String]) -> Vec<String> {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let place = Place::Udp(server.local_addr().unwrap().to_string().into());
    let log = log_to(vec![Target { framing: Framing::Priority, ..Target::raw(place) }]);
    let writer = Writer::start();
    let mut pen = Pen::to(writer.clone());
    for line in requests {
        pen.write(&log, &request(line.as_bytes()));
    }
    drop(pen);
    assert!(writer.finish(LONG).await);
    let mut buffer = [0; 2048];
    let mut received = |_: &String| {
        let count = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..count].to_vec()).unwrap();
        assert!(text.starts_with("<134>10.0.0.1:4711 ["), "{text}");
        text.split('"').nth(1).unwrap().to_owned()
    };
    requests.iter().map(&mut received).collect()
}

#[tokio::test]
async fn many_lines_leave_in_the_order_of_their_lengths_few_in_their_own() {
    let requests = |count: usize| -> Vec<String> {
        (0..count).map(|n| format!("GET /{n:0len$}", len = 9 - n % 3)).collect()
    };
    let few = requests(sink::SORTED_FROM - 1);
    assert_eq!(through_udp(&few).await, few);
    let mut many = requests(sink::SORTED_FROM + 20);
    let received = through_udp(&many).await;
    many.sort_by_key(String::len);
    assert_eq!(received, many);
}

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
async fn only_what_nobody_uses_is_closed() {
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
    drop(goes);
    writer.tell(Message::Reopen).await;
    assert!(writer.finish(LONG).await && is_open(&unused), "it is opened anew all the same");
    writer.tell(Message::Tidy).await;
    assert!(writer.finish(LONG).await && is_open(&used) && !is_open(&unused));
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

#[tokio::test]
async fn a_udp_server_that_is_missing_is_found_when_it_comes() {
    let place = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = place.local_addr().unwrap();
    drop(place);
    let log = log_to(vec![Target::raw(Place::Udp(addr.to_string().into()))]);
    let writer = Writer::start();
    let before = Loss::Receiver.total();
    write(&writer, &log, 100).await;
    assert!(Loss::Receiver.total() >= before + 100);
    let server = UdpSocket::bind(addr).unwrap();
    server.set_nonblocking(true).unwrap();
    write_until(&writer, &log, || server.recv(&mut [0; 2048]).is_ok()).await;
}

#[tokio::test]
async fn a_unix_receiver_may_come_late_and_be_started_anew() {
    let dir = Dir::new("unix");
    let path = dir.path("socket");
    let log = log_to(vec![Target::raw(Place::Unix(path.clone()))]);
    let writer = Writer::start();
    let before = Loss::Receiver.total();
    write(&writer, &log, 7).await;
    assert!(Loss::Receiver.total() >= before + 7);
    for _ in 0..2 {
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_nonblocking(true).unwrap();
        write_until(&writer, &log, || server.recv(&mut [0; 2048]).is_ok()).await;
        drop(server);
        std::fs::remove_file(&path).unwrap();
    }
}

/// More lines than the socket's queue takes, to a receiver that is awake: all of them arrive.
#[tokio::test]
async fn a_unix_receiver_that_reads_gets_every_line() {
    let dir = Dir::new("awake");
    let path = dir.path("socket");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let reader = std::thread::spawn(move || (0..3000).all(|_| server.recv(&mut [0; 2048]).is_ok()));
    let log = log_to(vec![Target::raw(Place::Unix(path))]);
    write(&Writer::start(), &log, 3000).await;
    assert!(reader.join().unwrap());
}

/// The receiver is stopped: its socket is full. Lines to it are lost, those to the file are not, and nobody waits long.
#[tokio::test]
async fn a_receiver_that_does_not_read_holds_up_nobody() {
    let dir = Dir::new("asleep");
    let (path, other) = (dir.path("socket"), dir.path("log"));
    let server = UnixDatagram::bind(&path).unwrap();
    let log = log_to(vec![Target::raw(Place::Unix(path)), file(&other)]);
    let writer = Writer::start();
    let (lost, before) = (Loss::Receiver.total(), written());
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        write(&writer, &log, 50).await;
    }
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    assert_eq!(lines_of(&other), 5000);
    let lost = Loss::Receiver.total() - lost;
    assert!(lost > 1000, "{lost}");
    assert!(written() >= before + 5000);
    // It wakes up, reads what was left in its queue, and gets new lines.
    server.set_nonblocking(true).unwrap();
    while server.recv(&mut [0; 2048]).is_ok() {}
    write_until(&writer, &log, || server.recv(&mut [0; 2048]).is_ok()).await;
}
