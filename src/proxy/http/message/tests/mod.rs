//! Examples as tables, and the law that how bytes are split into packets changes nothing.

mod answers;
mod chunks;
mod framing;
mod hops;
mod packets;
mod requests;

use std::net::IpAddr;

use super::chunked::{Decoder, Keep, Malformed, Ranges};
use super::request::{self, Request, Rules};
use super::response::{self, Asked, Come, Response};
use super::{Upgrade, Version};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

fn ask_with(input: &str, rules: &Rules<'_>) -> Result<(Request, String), u16> {
    let mut out = Vec::new();
    let request = request::read(input.as_bytes(), rules, &mut out).map_err(|r| r.status)?;
    Ok((request.expect("a whole head"), String::from_utf8(out).unwrap()))
}

fn ask(input: &str) -> Result<(Request, String), u16> {
    ask_with(input, &Rules { forward_for: None, client: Some(CLIENT), close: false })
}

/// A GET with `lines` besides its host.
fn get(lines: &str) -> Result<(Request, String), u16> {
    ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

fn post(lines: &str) -> Result<(Request, String), u16> {
    ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

fn lines(head: &str) -> Vec<&str> {
    head.trim_end().split("\r\n").skip(1).collect()
}

const ASKED: Asked = Asked {
    come: Come::All,
    is_head: false,
    version: Version::V11,
    sent: Version::V11,
    upgrade: Upgrade::No,
    keep_alive: true,
};

fn answer(input: &str, asked: Asked) -> Result<(Response, String), &'static str> {
    let mut out = Vec::new();
    let response = response::read(input.as_bytes(), &asked, &mut out)?.expect("a whole head");
    let sent = if response.is_changed { String::from_utf8(out).unwrap() } else { input.to_owned() };
    Ok((response, sent))
}

fn ok(lines: &str) -> Result<(Response, String), &'static str> {
    answer(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), ASKED)
}

/// What goes on of `input` and what follows it, fed in pieces that end at `cuts`.
fn decode(input: &[u8], keep: Keep, cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let mut decoder = Decoder::new(keep);
    let (mut out, mut consumed, mut from) = (Vec::new(), 0, 0);
    for cut in cuts.iter().copied().chain([input.len()]) {
        let cut = cut.clamp(from, input.len());
        let piece = input.get(from..cut).unwrap();
        let mut ranges = Ranges::default();
        let fed = decoder.feed(piece, &mut ranges)?;
        for range in ranges.0 {
            out.extend_from_slice(piece.get(range).unwrap());
        }
        consumed += fed.consumed;
        if fed.done {
            out.extend_from_slice(decoder.tail());
            return Ok((out, consumed, true));
        }
        assert_eq!(fed.consumed, piece.len());
        from = cut;
    }
    Ok((out, consumed, decoder.is_done()))
}
