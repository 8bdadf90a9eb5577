use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::proxy::proxy_protocol::laws;

const V4: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0x57, 0x08, 0xae];
const V6: &[u8] = &[
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0xff, 0xff,
];

fn v2(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2, &[command, kind], &len, body].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &len[..], value].concat()
}

/// Judges, after the laws have been held against it.
fn judged(input: &[u8]) -> Result<Option<Header>, Malformed> {
    laws::header(input);
    parse(input)
}

/// The addresses of a header that is whole and the length of `input`, as text.
fn addrs(input: &[u8]) -> Result<String, Malformed> {
    let mut more = input.to_vec();
    more.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(judged(&more), judged(input));
    let header = judged(input)?.expect("whole");
    assert_eq!(header.len, input.len());
    Ok(header.addrs.map_or_else(|| "none".to_owned(), |(from, to)| format!("{from} {to}")))
}

#[test]
fn version_1_as_haproxy_reads_it() {
    for (line, wanted) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222", "1.2.3.4:1111 5.6.7.8:2222"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0 65535", "1.2.3.4:0 5.6.7.8:65535"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0000000011 002", "1.2.3.4:11 5.6.7.8:2"),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535", "[2001:db8::1]:1 [2001:db8::2]:65535"),
        ("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2", "[::ffff:1.2.3.4]:1 [::1]:2"),
        ("PROXY UNKNOWN", "none"),
    ] {
        assert_eq!(addrs(format!("{line}\r\n").as_bytes()).as_deref(), Ok(wanted), "{line}");
    }
    for line in [
        "PROXY TCP4 ::1 ::2 1 2",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2",
        "PROXY TCP4 1.2.3.4  5.6.7.8 1 2",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 x",
        "PROXY TCP4 1.2.3.4 5.6.7.8",
        "PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2",
        "PROXY TCP6 fe80::1%lo fe80::2 1 2",
    ] {
        let judged = addrs(format!("{line}\r\n").as_bytes());
        assert_eq!(judged, Err(Malformed::Invalid), "{line}");
    }
    for line in
        ["PROXY TCP5 1 2 1 2", "PROXY UDP4 1 2 1 2", "PROXY TCP4\t1 2 1 2", "PROXY UNKNOWNX"]
    {
        let judged = addrs(format!("{line}\r\n").as_bytes());
        assert_eq!(judged, Err(Malformed::Protocol), "{line}");
    }
    assert_eq!(judged(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"), Err(Malformed::Invalid));
    assert_eq!(
        judged(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX"),
        Ok(None),
        "haproxy refuses it at once"
    );
    assert_eq!(judged(b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), Err(Malformed::Stranger));
    assert_eq!(judged(b"GET / HTTP/1.1\r\n\r\n"), Err(Malformed::Stranger));
}

#[test]
fn version_1_where_we_follow_the_protocol_and_not_haproxy() {
    let rest = "PROXY UNKNOWN ffff:f...f:ffff foo bar baz\r\n";
    assert_eq!(addrs(rest.as_bytes()).as_deref(), Ok("none"), "haproxy closes");
    for line in [
        // Taken as port 0.
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2",
        "PROXY TCP4 1.2.3.4 5.6.7.8  2",
        // Taken as 1.2.3.4, 1.2.0.0 and 1.2.4.0.
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2",
        "PROXY TCP4 1.2 5.6.7.8 1 2",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2",
    ] {
        let judged = addrs(format!("{line}\r\n").as_bytes());
        assert_eq!(judged, Err(Malformed::Invalid), "{line}");
    }
}

#[test]
fn a_line_is_107_bytes_at_most() {
    let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(line(107).len(), 107);
    assert!(matches!(judged(line(107).as_bytes()), Ok(Some(Header { len: 107, addrs: None }))));
    assert_eq!(judged(line(108).as_bytes()), Err(Malformed::Invalid));
    assert_eq!(judged(&line(300).as_bytes()[..106]), Ok(None));
    assert_eq!(judged(&line(300).as_bytes()[..107]), Err(Malformed::Invalid));
}

#[test]
fn version_2_as_haproxy_reads_it() {
    let four = "1.2.3.4:1111 5.6.7.8:2222";
    assert_eq!(addrs(&v2(0x21, 0x11, V4)).as_deref(), Ok(four));
    let six = "[2001:db8::1]:1 [2001:db8::2]:65535";
    assert_eq!(addrs(&v2(0x21, 0x21, V6)).as_deref(), Ok(six));
    let extra = [V4, &tlv(4, b"xx"), &tlv(0xee, b"hello"), &tlv(0x30, b"netns")].concat();
    assert_eq!(addrs(&v2(0x21, 0x11, &extra)).as_deref(), Ok(four), "extras are skipped");
    assert_eq!(addrs(&v2(0x20, 0, b"")).as_deref(), Ok("none"), "a check");
    assert_eq!(addrs(&v2(0x20, 0x11, V4)).as_deref(), Ok("none"), "a check with addresses");
    assert_eq!(
        addrs(&v2(0x20, 0, b"\xee\0\x09")).as_deref(),
        Ok("none"),
        "of which nothing is read"
    );
    for (command, kind, body) in [
        (0x22, 0x11, V4),
        (0x21, 0x41, V4),
        (0x21, 0x13, V4),
        (0x21, 0x10, V4),
        (0x21, 0x01, b""),
        (0x21, 0x11, &V4[..11]),
        (0x21, 0x21, V4),
        (0x21, 0x11, &[V4, b"\xee\0\x09abc"].concat()),
        (0x21, 0x11, &[V4, b"\xee"].concat()),
    ] {
        let judged = judged(&v2(command, kind, body));
        assert_eq!(judged, Err(Malformed::Invalid), "{command:x} {kind:x} {}", body.escape_ascii());
    }
    assert_eq!(judged(&v2(0x11, 0x11, V4)), Err(Malformed::Stranger), "version 1");
    assert_eq!(judged(&v2(0x31, 0x11, V4)), Err(Malformed::Stranger), "version 3");
    assert_eq!(judged(b"\r\n\r\n\0\r\nQUIX\n"), Err(Malformed::Stranger));
}

/// haproxy closes on all of them; the protocol wants them taken.
#[test]
fn version_2_with_addresses_that_are_not_tcps_speaks_for_itself() {
    assert_eq!(addrs(&v2(0x21, 0x00, b"abcdefg")).as_deref(), Ok("none"));
    assert_eq!(addrs(&v2(0x21, 0x12, V4)).as_deref(), Ok("none"));
    assert_eq!(addrs(&v2(0x21, 0x22, V6)).as_deref(), Ok("none"));
    assert_eq!(addrs(&v2(0x21, 0x31, &[0; 216])).as_deref(), Ok("none"));
}

#[test]
fn version_2_is_as_long_as_haproxys_buffer_at_most() {
    let of = |len: usize| v2(0x21, 0x11, &[V4, &tlv(4, &vec![b'x'; len - 16 - 15])].concat());
    assert!(matches!(judged(&of(16_384)), Ok(Some(Header { len: 16_384, .. }))));
    assert_eq!(judged(&of(16_385)), Err(Malformed::Invalid));
    assert_eq!(judged(&of(16_385)[..16]), Err(Malformed::Invalid), "known before it comes");
}

#[test]
fn a_checksum_must_be_right() {
    let with = |flip: u32, kind: u8, body: &[u8]| {
        let zeros =
            v2(0x21, kind, &[body, &tlv(4, b"x"), &tlv(3, &[0; 4]), &tlv(4, b"y")].concat());
        let sum = (crc32c([&zeros[..]]) ^ flip).to_be_bytes();
        v2(0x21, kind, &[body, &tlv(4, b"x"), &tlv(3, &sum), &tlv(4, b"y")].concat())
    };
    assert_eq!(addrs(&with(0, 0x11, V4)).as_deref(), Ok("1.2.3.4:1111 5.6.7.8:2222"));
    assert_eq!(judged(&with(1, 0x11, V4)), Err(Malformed::Invalid));
    assert!(addrs(&with(0, 0x21, V6)).is_ok());
    assert_eq!(judged(&with(1 << 31, 0x21, V6)), Err(Malformed::Invalid));
    let short = v2(0x21, 0x11, &[V4, &tlv(3, b"abc")].concat());
    assert_eq!(judged(&short), Err(Malformed::Invalid));
}

/// Two checksums, each right for the header with the other in it: they depend on each other linearly, so the equations can
/// be solved.
fn with_two_checksums() -> Vec<u8> {
    let header = |one: u32, two: u32| {
        let sums = [tlv(3, &one.to_be_bytes()), tlv(3, &two.to_be_bytes())].concat();
        v2(0x21, 0x11, &[V4, &sums].concat())
    };
    let around = |one: u32| crc32c([&header(0, crc32c([&header(one, 0)[..]]))[..]]);
    // one = around(one): rows of (one ^ linear part of around(one), one).
    let still = around(0);
    let mut rows: Vec<(u32, u32)> =
        (0..32).map(|bit| 1 << bit).map(|bit: u32| (bit ^ around(bit) ^ still, bit)).collect();
    let mut one = (still, 0);
    for bit in (0..32).map(|bit| 1_u32 << bit) {
        let Some(at) = rows.iter().position(|row| row.0 & bit != 0) else { continue };
        let pivot = rows.swap_remove(at);
        for row in rows.iter_mut().chain([&mut one]).filter(|row| row.0 & bit != 0) {
            *row = (row.0 ^ pivot.0, row.1 ^ pivot.1);
        }
    }
    assert_eq!(one.0, 0, "no solution");
    let one = one.1;
    header(one, crc32c([&header(one, 0)[..]]))
}

#[test]
fn a_second_checksum_is_refused_however_right_it_is() {
    let both = with_two_checksums();
    for at in [16 + 12 + 3, 16 + 12 + 7 + 3] {
        let mut zeros = both.clone();
        zeros[at..at + 4].fill(0);
        assert_eq!(crc32c([&zeros[..]]).to_be_bytes(), both[at..at + 4], "right");
    }
    assert_eq!(judged(&both), Err(Malformed::Invalid));
}

/// Bytes that look like a header, with something wrong here and there.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "PROXY", "TCP4", "TCP6", "UNKNOWN", " ", "  ", "1.2.3.4", "::1", "65535", "65536", "0",
        "\r", "\n", "\r\n", "x",
    ]);
    let line = prop::collection::vec(word, 0..12).prop_map(|words| words.concat().into_bytes());
    let bytes = prop::collection::vec(any::<u8>(), 0..260);
    let kind = prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32, 0x41]);
    let tail = (kind, 0_u8..4, any::<u8>(), bytes.clone());
    let binary = tail.prop_map(|(kind, command, len, rest)| {
        [V2, &[0x20 | command, kind, 0, len], &rest].concat()
    });
    prop_oneof![bytes, line.clone(), line.prop_map(|line| [V1, &line].concat()), binary,]
}

proptest! {
    #[test]
    fn any_bytes_keep_the_laws(input in almost()) {
        laws::header(&input);
    }

    #[test]
    fn addresses_come_out_as_they_went_in(from: [u8; 4], to: [u8; 16], ports: (u16, u16)) {
        let six = SocketAddr::from((to, ports.0));
        let four = SocketAddr::from((from, ports.1));
        for (a, b) in [(four, four), (six, six)] {
            let family = if a.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {} {} {} {}\r\n", a.ip(), b.ip(), a.port(), b.port());
            prop_assert_eq!(addrs(line.as_bytes()), Ok(format!("{a} {b}")));
        }
    }
}
