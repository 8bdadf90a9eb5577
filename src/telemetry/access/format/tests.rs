use jiff::tz::TimeZone;

use super::*;
use crate::telemetry::access::{Capture, Cause, Conns, Http, Place, Stage, Timers};

fn log(format: Format) -> AccessLog {
    let mut log = AccessLog::plain("f1", format, Place::Stdout);
    log.backend = "b1".into();
    log
}

fn capture(name: &str, max_len: usize) -> Capture {
    Capture { name: name.into(), max_len }
}

fn http<'a>(line: Option<&'a [u8]>, status: u16) -> Http<'a> {
    Http {
        line,
        status: Some(status),
        request_captures: &[],
        response_captures: &[],
        reused: false,
    }
}

/// 25 Nov 2026, 21:11:32.809 UTC.
const BEGUN: u64 = 1_795_641_092_809;

fn record(http: Option<Http<'_>>) -> Record<'_> {
    Record {
        client: Some(([127, 0, 0, 1], 36226).into()),
        local: Some(([127, 0, 0, 1], 15201).into()),
        socket: 1,
        begun: BEGUN,
        server: Some("s1"),
        timers: Timers {
            request: Some(0),
            queue: Some(0),
            connect: Some(0),
            response: Some(1),
            total: 1,
        },
        bytes_out: 116,
        bytes_in: 33,
        cause: Cause::None,
        stage: Stage::Done,
        conns: Conns { process: 1, frontend: 1, backend: 0, server: 0 },
        retries: 0,
        redispatched: false,
        queued: (0, 0),
        http,
    }
}

fn text(log: &AccessLog, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    render(&mut out, log, record, &mut Clock::in_zone(TimeZone::UTC));
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_are_written_as_haproxy_2_6_writes_them() {
    let mut log = log(Format::Http);
    log.request_captures = [capture("X-A", 10), capture("X-B", 64)].into();
    log.response_captures = [capture("Server", 20), capture("X-None", 20)].into();
    let server = b"BaseHTTP/0.6 Python/3.11.7";
    let found = Http {
        response_captures: &[Some(server), None],
        request_captures: &[None, None],
        ..http(Some(b"GET /plain HTTP/1.1"), 200)
    };
    // Logged by haproxy 2.6.12 with these captures and this answer.
    let expected = "127.0.0.1:36226 [25/Nov/2026:21:11:32.809] f1 b1/s1 0/0/0/1/1 200 116 - - ---- 1/1/0/0/0 0/0 {|} {BaseHTTP/0.6 Python/|} \"GET /plain HTTP/1.1\"";
    assert_eq!(text(&log, &record(Some(found))), expected);
    let twice = Http { request_captures: &[Some(b"two, three, four"), Some(b"a\"|")], ..found };
    assert!(text(&log, &record(Some(twice))).contains(" {two, three|a#22#7C} {BaseHTTP"));
    let bad = Record {
        server: None,
        timers: Timers::default(),
        bytes_out: 0,
        cause: Cause::Proxy,
        stage: Stage::Request,
        ..record(Some(http(None, 400)))
    };
    let expected = "127.0.0.1:36226 [25/Nov/2026:21:11:32.809] f1 f1/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 \"<BADREQ>\"";
    assert_eq!(text(&log, &bad), expected);
    log.request_captures = [capture("X-A", 5)].into();
    log.response_captures = [capture("X-R", 5)].into();
    let dead = Record {
        timers: Timers { queue: Some(0), request: Some(0), total: 1001, ..Timers::default() },
        bytes_out: 217,
        cause: Cause::Server,
        stage: Stage::Connect,
        retries: 1,
        ..record(Some(Http {
            request_captures: &[Some(b"q")],
            ..http(Some(b"GET /1 HTTP/1.1"), 503)
        }))
    };
    let expected =
        " b1/s1 0/0/-1/-1/1001 503 217 - - SC-- 1/1/0/0/1 0/0 {q} {} \"GET /1 HTTP/1.1\"";
    assert!(text(&log, &dead).ends_with(expected), "{}", text(&log, &dead));
}

#[test]
fn a_redispatch_stands_before_the_retries() {
    let it = Record {
        redispatched: true,
        retries: 1,
        queued: (2, 3),
        ..record(Some(http(Some(b"GET /"), 200)))
    };
    assert!(text(&log(Format::Http), &it).contains(" ---- 1/1/0/0/+1 2/3 \"GET /\""));
    let unknown = Record { http: Some(Http { status: None, ..http(Some(b"GET /"), 0) }), ..it };
    assert!(text(&log(Format::Http), &unknown).contains(" -1 116 - - "));
}

#[test]
fn sessions_are_written_as_haproxy_2_6_writes_them() {
    let it = Record {
        client: Some(([127, 0, 0, 1], 55464).into()),
        begun: 1_795_641_097_833,
        timers: Timers { queue: Some(1), connect: Some(0), total: 150, ..Timers::default() },
        bytes_out: 113,
        ..record(None)
    };
    let expected =
        "127.0.0.1:55464 [25/Nov/2026:21:11:37.833] f1 b1/s1 1/0/150 113 -- 1/1/0/0/0 0/0";
    assert_eq!(text(&log(Format::Tcp), &it), expected);
    // As haproxy does with `option tcplog` in mode http.
    let request = text(&log(Format::Tcp), &record(Some(http(Some(b"GET / HTTP/1.1"), 200))));
    assert!(request.ends_with(" f1 b1/s1 0/0/1 116 -- 1/1/0/0/0 0/0"), "{request}");
}

#[test]
fn the_line_without_options_names_both_ends() {
    let log = log(Format::Connect);
    let expected = "Connect from 127.0.0.1:36226 to 127.0.0.1:15201 (f1/HTTP)";
    assert_eq!(text(&log, &record(Some(http(None, 400)))), expected);
    let six = Record { client: Some("[::1]:7".parse().unwrap()), local: None, ..record(None) };
    assert_eq!(text(&log, &six), "Connect from ::1:7 to unix:1 (f1/TCP)");
}

#[test]
fn what_was_no_session_has_lines_of_its_own() {
    let begun = record(None).begun;
    let client = Some(([127, 0, 0, 1], 46476).into());
    let text = "Truncated PROXY protocol header received";
    let it = Failure { client, socket: 2, begun, took: 7, is_silent: false, text };
    let said = |format: Format, it: &Failure<'_>| {
        let mut out = Vec::new();
        failure(&mut out, &log(format), it, &mut Clock::default());
        String::from_utf8(out).unwrap()
    };
    let line = said(Format::Http, &it);
    assert!(
        line.starts_with("127.0.0.1:46476 [") && line.ends_with(&format!("] f1/2: {text}")),
        "{line}"
    );
    assert_eq!(said(Format::Tcp, &it), line);
    let unix = Failure { client: None, ..it };
    assert!(said(Format::Http, &unix).starts_with("unix:2 ["), "its socket's number");
    let object = |it: &Failure<'_>| {
        serde_json::from_str::<serde_json::Value>(&said(Format::Json, it)).unwrap()
    };
    let value = object(&it);
    assert_eq!((&value["client"], &value["frontend"]), (&"127.0.0.1:46476".into(), &"f1".into()));
    assert_eq!((&value["error"], &value["total_ms"]), (&text.into(), &7.into()));
    assert_eq!(object(&unix)["client"], serde_json::Value::Null);
}

#[test]
fn long_request_lines_are_cut_where_haproxy_cuts_them() {
    let line = [b"GET /".as_slice(), &[b'a'; 3000]].concat();
    let text = text(&log(Format::Http), &record(Some(http(Some(&line), 200))));
    let request = text.split('"').nth(1).unwrap();
    assert_eq!(request.len(), 1023);
}

#[test]
fn json_is_flat_and_says_the_same() {
    let mut log = log(Format::Json);
    log.request_captures = [capture("X-Trace", 4), capture("X-B", 9)].into();
    let it = Http {
        request_captures: &[Some(b"\xffbcdef"), None],
        ..http(Some(b"GET /\"\\ HTTP/1.1"), 200)
    };
    let it = Record { server: None, ..record(Some(it)) };
    let line = text(&log, &it);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(
        value.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array())
    );
    assert_eq!(value["time"], "2026-11-25T21:11:32.809+00:00");
    assert_eq!(value["client"], "127.0.0.1:36226");
    assert_eq!(value["request"], "GET /\"\\\\ HTTP/1.1");
    assert_eq!((&value["server"], &value["status"]), (&serde_json::Value::Null, &200.into()));
    assert_eq!((&value["response_ms"], &value["bytes_in"]), (&1.into(), &33.into()));
    assert_eq!(value["termination"], "--");
    assert_eq!(value["request_header_x-trace"], "\\xffbcd");
    assert_eq!(value["request_header_x-b"], serde_json::Value::Null);
    let session: serde_json::Value = serde_json::from_str(&text(&log, &record(None))).unwrap();
    assert!(session.get("request").is_none() && session.get("response_ms").is_none());
}

proptest::proptest! {
    #[test]
    fn any_record_is_one_line(line: Vec<u8>, value: Vec<u8>, status: u16, begun: u64, total: u32) {
        for format in [Format::Connect, Format::Http, Format::Tcp, Format::Json] {
            let mut log = log(format);
            log.request_captures = [capture("X-A", 16)].into();
            let captures = [Some(value.as_slice())];
            let it = Http { request_captures: &captures, ..http(Some(&line), status) };
            let it = Record { begun, timers: Timers { total, ..Timers::default() }, ..record(Some(it)) };
            let text = text(&log, &it);
            proptest::prop_assert!(!text.contains(['\n', '\r', '\0']));
            if format == Format::Json {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
    }
}

#[test]
fn the_longest_of_everything_has_room() {
    let most = Some(u32::MAX);
    let timers =
        Timers { request: most, queue: most, connect: most, response: most, total: u32::MAX };
    let addr = Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap());
    let conns =
        Conns { process: u32::MAX, frontend: u32::MAX, backend: u32::MAX, server: u32::MAX };
    let it = Record {
        client: addr,
        local: addr,
        socket: u16::MAX,
        timers,
        bytes_out: u64::MAX,
        conns,
        retries: u32::MAX,
        redispatched: true,
        queued: (u32::MAX, u32::MAX),
        ..record(Some(http(Some(b"GET /"), u16::MAX)))
    };
    let numbers = "4294967295/4294967295/4294967295/4294967295/+4294967295 4294967295/4294967295";
    for (format, end) in [(Format::Http, " \"GET /\""), (Format::Tcp, "")] {
        let text = text(&log(format), &it);
        assert!(text.ends_with(&format!("{numbers}{end}")), "{text}");
    }
    let connect = text(&log(Format::Connect), &it);
    assert!(connect.ends_with(":65535 (f1/HTTP)"), "{connect}");
    let object = text(&log(Format::Json), &it);
    assert!(object.contains("ffff:65535\",\"local\":\"ffff:"), "{object}");
    let text = "too long";
    let it = Failure {
        client: addr,
        socket: u16::MAX,
        begun: u64::MAX,
        took: 0,
        is_silent: false,
        text,
    };
    let mut out = Vec::new();
    failure(&mut out, &log(Format::Http), &it, &mut Clock::default());
    assert!(out.ends_with(b" f1/65535: too long"), "{}", out.escape_ascii());
}
