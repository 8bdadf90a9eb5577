//! Chunks that are some, and chunks that are none.

use super::super::HEAD_BYTES;
use super::super::chunked::{Decoder, Keep, Malformed, Ranges};
use super::decode;

#[test]
fn chunks_pass_without_extensions() {
    for (input, framed, data) in [
        ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a=b\r\nhello\r\n0;x\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5 ;a=\"x;\\\"\"\r\nhello\r\n00\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("005\r\nhello\r\n0;a=0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        (
            "A\r\n0123456789\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n",
            "A\r\n0123456789\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n",
            "0123456789x",
        ),
    ] {
        let whole = decode(input.as_bytes(), Keep::Framed, &[]).expect(input);
        assert_eq!(whole, (framed.as_bytes().to_vec(), input.len(), true), "{input:?}");
        let whole = decode(input.as_bytes(), Keep::Data, &[]).expect(input);
        assert_eq!(whole, (data.as_bytes().to_vec(), input.len(), true), "{input:?}");
    }
    let (_, consumed, done) = decode(b"0\r\n\r\nGET /", Keep::Framed, &[]).unwrap();
    assert_eq!((consumed, done), (5, true));
}

#[test]
fn chunks_that_are_none() {
    for bad in [
        "5\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "10000000000000\r\n",
        "00000000000000005\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nhost: b\r\n\r\n",
        "0\r\ntransfer-encoding: chunked\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n\n",
        "0\r\nx: y\n\r\n",
        "5_0\r\n",
        "5;a=\"x\r\nhello\r\n",
        "5;a\u{1}\r\n",
        "5 5\r\nhello\r\n",
        "5\rhello",
        "-1\r\n",
        "g\r\n",
    ] {
        assert_eq!(decode(bad.as_bytes(), Keep::Framed, &[]), Err(Malformed), "{bad:?}");
    }
    for huge in ["fffffffffffff\r\nx", "000fffffffffffff\r\nx"] {
        assert!(decode(huge.as_bytes(), Keep::Framed, &[]).is_ok(), "{huge:?}");
    }
    let long = format!("5;{}\r\nhello\r\n", "x".repeat(5000));
    assert_eq!(decode(long.as_bytes(), Keep::Framed, &[]), Err(Malformed));
    let long = format!("0\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
    assert_eq!(decode(long.as_bytes(), Keep::Framed, &[]), Err(Malformed));
}

/// Some take the last chunk's line alone for the end.
#[test]
fn the_last_chunk_goes_on_when_all_behind_it_is_known() {
    let body = b"5\r\nhello\r\n000;x=y\r\nSum: 7\r\n\r\n";
    let mut decoder = Decoder::new(Keep::Framed);
    let mut ranges = Ranges::default();
    for byte in &body[..body.len() - 1] {
        decoder.feed(&[*byte], &mut ranges).unwrap();
    }
    assert_eq!(ranges.0.len(), "5\r\nhello\r\n".len());
    assert!(decoder.feed(&body[body.len() - 1..], &mut ranges).unwrap().done);
    assert_eq!(decoder.tail(), b"0\r\nSum: 7\r\n\r\n");
    // A line ends with CRLF or not at all.
    for bad in ["0\r\n\r\x1d", "0\r\nSum: 7\r\x1d", "0\r\nSum: 7\n"] {
        for at in 0..bad.len() {
            let (first, second) = bad.as_bytes().split_at(at);
            let mut decoder = Decoder::new(Keep::Framed);
            let mut ranges = Ranges::default();
            let fed = decoder.feed(first, &mut ranges).unwrap();
            assert_eq!(fed.consumed, at, "{bad:?}");
            assert!(decoder.feed(second, &mut ranges).is_err(), "{bad:?} cut at {at}");
            assert!(ranges.0.is_empty(), "{bad:?}");
        }
    }
}
