//! Syslog servers and other receivers of datagrams: those that read, sleep, are missing or come late.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::telemetry::access::written;

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
        let server = receiver(&path);
        write_until(&writer, &log, || received(&server) > 0).await;
        drop(server);
        std::fs::remove_file(&path).unwrap();
    }
}

/// One that says so when there is nothing to read.
fn receiver(path: &Path) -> UnixDatagram {
    let server = UnixDatagram::bind(path).unwrap();
    server.set_nonblocking(true).unwrap();
    server
}

/// Reads what is there.
fn received(server: &UnixDatagram) -> usize {
    std::iter::from_fn(|| server.recv(&mut [0; 2048]).ok()).count()
}

/// Each datagram goes to what stands at the path, as haproxy's do, although the one before is open still.
#[tokio::test]
async fn a_unix_receiver_is_followed_to_the_socket_that_took_its_path() {
    let dir = Dir::new("replaced");
    let path = dir.path("socket");
    let log = log_to(vec![Target::raw(Place::Unix(path.clone()))]);
    let writer = Writer::start();
    let old = receiver(&path);
    write(&writer, &log, 3).await;
    assert_eq!(received(&old), 3);
    std::fs::rename(&path, dir.path("moved")).unwrap();
    write(&writer, &log, 2).await;
    assert_eq!(received(&old), 2, "nothing stands there, so the old one goes on");
    let stream = std::os::unix::net::UnixListener::bind(&path).unwrap();
    write(&writer, &log, 2).await;
    assert_eq!(received(&old), 2, "nor does one that takes no datagrams take its place");
    drop(stream);
    std::fs::remove_file(&path).unwrap();
    let new = receiver(&path);
    write(&writer, &log, 4).await;
    assert_eq!((received(&old), received(&new)), (0, 4));
}

/// Whatever has failed: what stands there now has not.
#[tokio::test]
async fn the_successor_of_a_receiver_that_failed_is_not_waited_for() {
    let dir = Dir::new("successor");
    let path = dir.path("socket");
    let log = log_to(vec![Target::raw(Place::Unix(path.clone()))]);
    let writer = Writer::start();
    // Nobody is there: the next try has to wait.
    write_too_much(&writer, &log).await;
    let full = receiver(&path);
    write(&writer, &log, 1).await;
    assert_eq!(received(&full), 1);
    write_too_much(&writer, &log).await;
    std::fs::rename(&path, dir.path("moved")).unwrap();
    let new = receiver(&path);
    write(&writer, &log, 5).await;
    assert_eq!(received(&new), 5);
}

/// Writes more than a socket that nobody reads takes.
async fn write_too_much(writer: &Writer, log: &Arc<AccessLog>) {
    let before = Loss::Receiver.total();
    write(writer, log, 1000).await;
    assert!(Loss::Receiver.total() > before, "see net.unix.max_dgram_qlen");
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
