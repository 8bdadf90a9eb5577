use proptest::prelude::*;

use super::*;

/// What hyper may read of `pieces`, and how it ends: `""`, a refusal or a malformed body.
fn read(pieces: &[&[u8]]) -> (String, &'static str) {
    let vigil = Rc::default();
    let mut judge = Vetted::new((), &vigil).judge;
    let mut fit = Vec::new();
    for piece in pieces {
        judge.raw.extend_from_slice(piece);
        while judge.refusal.is_none() && !judge.raw.is_empty() {
            match judge.judge(&vigil) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    assert!(judge.judge(&vigil).is_err(), "it stays so");
                    return (String::from_utf8(fit).unwrap(), "malformed");
                }
            }
            let mut buffer = [0; 64];
            let mut buffer = ReadBuf::new(&mut buffer);
            while judge.read(&mut buffer) {
                fit.extend_from_slice(buffer.filled());
                buffer.clear();
            }
        }
    }
    (String::from_utf8(fit).unwrap(), judge.refusal.map_or("", |refusal| refusal.why))
}

fn whole(text: &str) -> (String, &'static str) {
    read(&[text.as_bytes()])
}

#[test]
fn hyper_reads_one_framing_and_whether_the_connection_stays() {
    for (said, fit) in [
        ("GET  /  HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: X, close\r\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nconnection: close\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: h\r\nconnection: keep-alive\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: h\r\nconnection: close\r\n\r\n",
        ),
        ("GET  https://h/x HTTP/1.1\r\n\r\n", "GET https://h/x HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 05, 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: h\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        ),
    ] {
        assert_eq!(whole(said), (fit.to_owned(), ""), "{said:?}");
    }
}

#[test]
fn nothing_is_read_behind_what_is_refused() {
    let good = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let (fit, why) = whole(&[good, "GET / HTTP/1.1\r\n\r\n", good].concat());
    assert_eq!((&*fit, why), (good, "no host"));
    let bad = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n";
    assert_eq!(whole(&[bad, good].concat()).1, "malformed");
}

const PARTS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\nGET http://h HTTP/1.0\nHost: h\nConnection: keep-alive\n\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
];

proptest! {
    #[test]
    fn packets_make_no_difference(
        parts in proptest::collection::vec(0..PARTS.len(), 1..6),
        cuts in proptest::collection::vec(0_usize..600, 0..20),
    ) {
        let text: String = parts.iter().map(|part| PARTS[*part]).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|two| &text.as_bytes()[two[0]..two[1]]).collect();
        let (fit, why) = read(&pieces);
        let (all, end) = whole(&text);
        prop_assert_eq!(why, end);
        // Of a malformed body as much as came before that was seen.
        prop_assert!(if end == "malformed" { fit.starts_with(&all) } else { fit == all }, "{} {}", fit, all);
    }
}
