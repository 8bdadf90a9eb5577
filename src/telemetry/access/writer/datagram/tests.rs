use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::telemetry::access::writer::messages::Messages;

/// Sends all, and what arrives.
fn through(texts: &[String]) -> Vec<String> {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let addr = server.local_addr().unwrap().to_string();
    let mut datagrams = Datagrams::new(Place::Udp(addr.into()));
    let sent = datagrams.send(Messages::from_iter(texts).all());
    assert_eq!((sent.lost, sent.failed.is_none()), (0, true), "{sent:?}");
    let mut buffer = [0; 4096];
    let received = |_: &String| {
        let count = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    texts.iter().map(received).collect()
}

#[test]
fn lines_keep_their_order() {
    let texts: Vec<String> =
        [9, 9, 9, 5, 5, 5, 7].iter().enumerate().map(|(n, len)| format!("{n:0len$}")).collect();
    assert_eq!(through(&texts), texts);
}

/// How many are lost, of these and of those before, when a batch of so many lines of one length is sent.
fn lost(datagrams: &mut Datagrams, lines: usize) -> (usize, usize) {
    let sent = datagrams.send(Messages::from_iter(vec!["line"; lines]).all());
    (sent.lost, sent.lost_before)
}

#[test]
fn what_a_missing_server_refuses_is_lost_with_its_own_batch() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap().to_string();
    drop(server);
    let mut datagrams = Datagrams::new(Place::Udp(addr.into()));
    for lines in [100, 1, 2 * alike::MOST, 3] {
        assert_eq!(lost(&mut datagrams, lines), (lines, 0));
    }
}

#[test]
fn what_is_heard_late_is_lost_of_the_batch_before() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap().to_string();
    let mut datagrams = Datagrams::new(Place::Udp(addr.into()));
    assert_eq!(lost(&mut datagrams, 100), (0, 0));
    // As if the network had said so by now.
    let stray = udp(&datagrams).try_clone().unwrap();
    drop(server);
    stray.send(b"nobody is there").unwrap();
    assert_eq!(lost(&mut datagrams, 1), (1, 100));
    // A refusal is no reason for another socket, which would have another address: this one is still in use.
    assert_eq!(udp(&datagrams).local_addr().unwrap(), stray.local_addr().unwrap());
}

/// The socket that it has sent with.
fn udp(datagrams: &Datagrams) -> &UdpSocket {
    match &datagrams.socket {
        Some(Socket::Udp { socket, .. }) => socket,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn lines_of_one_length_keep_their_order_however_many_trains_they_take() {
    let texts: Vec<String> = (0..250).map(|n| format!("{n:09}")).collect();
    assert_eq!(through(&texts), texts);
}

/// Longer than the path's MTU: fragmented when they go singly, refused as a train.
#[test]
fn long_lines_take_a_narrow_path() {
    const MARK: &str = "SMARTSTACK_NARROW_PATH";
    if std::env::var_os(MARK).is_some() {
        let texts: Vec<String> = [100, 100, 100, 100, 2000, 2000, 2000, 2000]
            .iter()
            .enumerate()
            .map(|(n, len)| format!("{n:0len$}"))
            .collect();
        assert_eq!(through(&texts), texts);
        return;
    }
    // A user namespace of our own gives the right to make the other; root needs none.
    let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    let test = concat!(module_path!(), "::long_lines_take_a_narrow_path");
    let (_crate, test) = test.split_once("::").unwrap();
    let output = Command::new("unshare")
        .args([flags, "sh", "-c", "ip link set lo mtu 1280 up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
