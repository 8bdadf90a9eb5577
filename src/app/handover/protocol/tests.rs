//! Messages and descriptors over a real pair of sockets.

use super::super::descriptors::{CHUNK, receive_descriptors, send_descriptors};
use super::super::state::Totals;
use super::*;
use proptest::prelude::*;
use std::net::TcpListener;
use std::os::fd::AsFd as _;

const PATIENCE: Duration = Duration::from_secs(5);

fn pair() -> (UnixStream, BlockingStream) {
    let (ours, theirs) = BlockingStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (UnixStream::from_std(ours).unwrap(), theirs)
}

#[tokio::test]
async fn messages_arrive_as_they_were_sent() {
    let (mut ours, mut theirs) = pair();
    let offer = Message::Offer {
        from: Greeting::own(),
        listeners: vec!["127.0.0.1:1".to_owned(), "/run/x.sock".to_owned()],
        foreign: vec!["/run/x.sock".to_owned()],
        files: BTreeMap::default(),
        state: Box::default(),
    };
    let totals = Message::Counters(Box::default());
    for message in [Message::Ready, offer, totals, Message::Finished] {
        send(&mut ours, &message, PATIENCE).await.unwrap();
        assert_eq!(receive_blocking(&mut theirs).unwrap(), message);
    }
    drop(ours);
    let gone = receive_blocking(&mut theirs).unwrap_err();
    assert!(matches!(gone, ProtocolError::Gone), "{gone}");
}

#[tokio::test]
async fn who_has_gone_is_gone_for_whoever_speaks_or_waits_for_more() {
    let (mut ours, theirs) = pair();
    drop(theirs);
    let gone = send(&mut ours, &Message::Ready, PATIENCE).await.unwrap_err();
    assert!(matches!(gone, ProtocolError::Gone), "{gone}");
    let (mut ours, mut theirs) = pair();
    io::Write::write_all(&mut theirs, &[0, 0, 0, 9, b'"']).unwrap();
    drop(theirs);
    let gone = receive(&mut ours, PATIENCE).await.unwrap_err();
    assert!(matches!(gone, ProtocolError::Gone), "{gone}");
    let (ours, theirs) = pair();
    drop(ours);
    let gone = receive_descriptors(&theirs, 1).unwrap_err();
    assert!(matches!(gone, ProtocolError::Gone), "{gone}");
}

#[tokio::test]
async fn descriptors_arrive_in_order_over_several_chunks() {
    let (ours, theirs) = pair();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let many: Vec<_> = (0..CHUNK * 2 + 7)
        .map(|n| if n % 3 == 0 { other.as_fd() } else { socket.as_fd() })
        .collect();
    let wanted = many.len();
    let received = tokio::task::spawn_blocking(move || receive_descriptors(&theirs, wanted));
    send_descriptors(&ours, &many, PATIENCE).await.unwrap();
    let received = received.await.unwrap().unwrap();
    assert_eq!(received.len(), wanted);
    for (n, fd) in received.into_iter().enumerate() {
        let addr = TcpListener::from(fd).local_addr().unwrap();
        let sent = if n % 3 == 0 { &other } else { &socket };
        assert_eq!(addr, sent.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_byte_without_descriptors_is_an_error() {
    let (mut ours, theirs) = pair();
    ours.write_all(&[0]).await.unwrap();
    let error = receive_descriptors(&theirs, 3).unwrap_err();
    assert_eq!(error.to_string(), "0 of 3 descriptors came");
}

#[test]
fn what_is_too_long_is_not_read() {
    let error = body_length(u32::MAX.to_be_bytes()).unwrap_err();
    assert!(matches!(error, ProtocolError::TooLong(_)), "{error}");
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let text = r#"{"Hello": {"protocol": 1, "program": "9", "pid": 7, "mood": "fine"}}"#;
    assert_eq!(parse(text.as_bytes()).unwrap().kind(), "hello");
}

/// A message as one without `reload` and `read_ms` has it is understood, and ours by such a one.
#[test]
fn a_version_that_knows_nothing_of_reloads_is_understood_and_understands() {
    let theirs = r#"{"Counters": {"services": {}, "cold": [], "log_lines": [1, 2, 3, 4]}}"#;
    let Message::Counters(report) = parse(theirs.as_bytes()).unwrap() else {
        panic!("counters");
    };
    assert!(!report.reload);
    let asked = Report { reload: true, ..*report.clone() };
    let ours = serde_json::to_value(&asked).unwrap();
    assert_eq!(ours["reload"], true);
    let totals: Totals = serde_json::from_value(ours.clone()).unwrap();
    assert_eq!(totals, report.totals, "as before, with one field more");
    assert_eq!(serde_json::from_value::<Report>(ours).unwrap(), asked);
    let hello = r#"{"Hello": {"protocol": 1, "program": "0.1.0", "pid": 7}}"#;
    let Message::Hello(greeting) = parse(hello.as_bytes()).unwrap() else {
        panic!("hello");
    };
    assert_eq!(greeting.read_ms, None);
    assert!(Greeting::having_read(Instant::now()).read_ms.is_some());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(parse(&bytes));
        let (mut ours, mut theirs) = BlockingStream::pair().unwrap();
        io::Write::write_all(&mut ours, &bytes).unwrap();
        drop(ours);
        drop(receive_blocking(&mut theirs));
    }

    #[test]
    fn damaged_messages_never_panic(at in 0_usize..4000, byte: u8) {
        let offer = Message::Offer {
            from: Greeting::own(),
            listeners: vec!["127.0.0.1:1".to_owned()],
            foreign: Vec::new(),
            files: BTreeMap::default(),
            state: Box::new(super::super::state::tests::example()),
        };
        let mut bytes = frame(&offer).unwrap();
        let at = 4 + at % (bytes.len() - 4);
        bytes[at] = byte;
        if let Ok(Message::Offer { state, .. }) = parse(&bytes[4..]) {
            super::super::state::tests::use_all(&state);
        }
    }

    #[test]
    fn frames_hold_what_was_put_in(reason in ".{0,200}") {
        let message = Message::Refused { reason };
        let bytes = frame(&message).unwrap();
        let header = [bytes[0], bytes[1], bytes[2], bytes[3]];
        prop_assert_eq!(body_length(header).unwrap(), bytes.len() - 4);
        prop_assert_eq!(parse(&bytes[4..]).unwrap(), message);
    }
}
