//! What is asked, and what haproxy 2.6 answers.

use std::net::Ipv4Addr;

/// One request: from where, and its head.
pub(super) type Ask = (Ipv4Addr, String);

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) lines: &'static [&'static str],
    pub(super) options: [&'static str; 3],
    pub(super) asks: Vec<Ask>,
    /// haproxy 2.6's answers.
    pub(super) stored: Option<&'static str>,
}

impl Case {
    fn new(name: &'static str, lines: &'static [&'static str], asks: Vec<Ask>) -> Self {
        Self { name, lines, options: ["", "", ""], asks, stored: None }
    }

    fn with(self, options: [&'static str; 3]) -> Self {
        Self { options, ..self }
    }

    fn gives(self, stored: &'static str) -> Self {
        Self { stored: Some(stored), ..self }
    }
}

fn head(target: &str, headers: &str) -> Ask {
    let head = format!("GET {target} HTTP/1.1\r\nhost: h\r\n{headers}connection: close\r\n\r\n");
    (Ipv4Addr::LOCALHOST, head)
}

fn targets(targets: &[&str]) -> Vec<Ask> {
    targets.iter().map(|target| head(target, "")).collect()
}

fn paths() -> Vec<Ask> {
    (0..24).map(|n| head(&format!("/p{n}"), "")).collect()
}

fn keys() -> Vec<Ask> {
    (0..24).map(|n| head("/", &format!("X-K: k{n}\r\n"))).collect()
}

fn deep() -> Vec<Ask> {
    targets(&[
        "/a/b/c",
        "/a/b/d",
        "/a/c",
        "/a",
        "/ab/b/c?x=/y/z",
        "/a/b/c?q=1",
        "/a/b/c?q=2",
        "/",
        "/?",
        "//a//b",
        "/longer/path/than/the/others/and/more",
        "/longer/path/than/the/others/or/less",
        "http://h/a/b/c",
        "http://h/",
        "http://h/a?b",
        "/a/b",
    ])
}

fn sources() -> Vec<Ask> {
    (1..=24_u8)
        .map(|n| (Ipv4Addr::new(127, n, n.wrapping_mul(7), n.wrapping_mul(13)), head("/", "").1))
        .collect()
}

fn odd_headers() -> Vec<Ask> {
    let headers = [
        "x-k: a, b\r\n",
        "x-k: a\r\nx-k: c\r\n",
        "x-k: c\r\nx-k: a\r\n",
        "x-k:   spaced out  \r\n",
        "x-k: \"a,b\",c\r\n",
        "x-k: \u{e9}t\u{e9}\r\n",
        "X-K: A\r\n",
        "x-k:a\r\n",
    ];
    headers.iter().map(|headers| head("/", headers)).collect()
}

fn hosts() -> Vec<Ask> {
    [
        "www.example.com",
        "api.example.com",
        "example.com",
        "a.b.c.d",
        "localhost",
        "x.y",
        "www.other.org:80",
        "localhost:80",
        "x.",
        "a.b:80",
        "10.0.0.1",
    ]
    .iter()
    .map(|host| {
        let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        (Ipv4Addr::LOCALHOST, head)
    })
    .collect()
}

fn parameters() -> Vec<Ask> {
    targets(&[
        "/?k=1",
        "/?k=2",
        "/?k=3",
        "/x?a=b&k=1",
        "/x?kk=2&k=3&k=4",
        "/?k=",
        "/?k=a%20b",
        "/?ak=5&k=6",
        "/?k=7&",
        "/y?k=1",
        "/?a&k=8",
    ])
}

/// Options of servers.
const W: [&str; 3] = ["weight 1", "weight 2", "weight 3"];

pub(super) fn cases() -> Vec<Case> {
    [lookups(), functions(), parts(), without_key()].into_iter().flatten().collect()
}

/// The map and the ring.
fn lookups() -> Vec<Case> {
    vec![
        Case::new("uri", &["balance uri"], paths()).gives("BCABCABCABCABCABCABCABCA"),
        Case::new("uri-w", &["balance uri"], paths()).with(W).gives("CBCBCACBCBBCBCACBCBCCBCA"),
        Case::new("cons", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .gives("ACBCABABABCAABCCABACBCCC"),
        Case::new("cons-w", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(W)
            .gives("ACBCABABABCACBCBABCCBCCC"),
        Case::new("cons-id", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(["id 7", "", "id 123456"])
            .gives("ACBCBBCABCACCBCBCACCAAAC"),
        Case::new("cons-out", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(["", "disabled", ""]),
        Case::new("uri-out", &["balance uri"], paths()).with(["", "disabled", ""]),
        Case::new("cons-one", &["balance hdr(x-k)", "hash-type consistent"], keys())
            .with(["", "disabled", "disabled"]),
        Case::new(
            "backups",
            &["balance uri", "hash-type consistent", "option allbackups"],
            paths(),
        )
        .with(["disabled", "backup", "backup weight 2"]),
    ]
}

/// Every function, with and without avalanche.
fn functions() -> Vec<Case> {
    vec![
        Case::new("sdbm", &["balance hdr(x-k)", "hash-type consistent sdbm"], keys()),
        Case::new("djb2", &["balance hdr(x-k)", "hash-type map-based djb2"], keys()).with(W),
        Case::new("wt6", &["balance uri", "hash-type map-based wt6"], paths()).with(W),
        Case::new("crc32", &["balance uri", "hash-type map-based crc32"], paths()).with(W),
        Case::new("sdbm-a", &["balance uri", "hash-type map-based sdbm avalanche"], paths())
            .with(W),
        Case::new("djb2-a", &["balance hdr(x-k)", "hash-type consistent djb2 avalanche"], keys())
            .gives("BCBBABBCCCCCBCBBABACCAAC"),
        Case::new("wt6-a", &["balance uri", "hash-type consistent wt6 avalanche"], paths()),
        Case::new("crc32-a", &["balance uri", "hash-type consistent crc32 avalanche"], paths()),
        Case::new("wt6-c", &["balance uri", "hash-type consistent wt6"], paths()),
        Case::new("crc32-c", &["balance uri", "hash-type consistent crc32"], paths()),
    ]
}

/// What of a request counts.
fn parts() -> Vec<Case> {
    vec![
        Case::new("len", &["balance uri len 5", "hash-type map-based crc32"], deep()).with(W),
        Case::new("depth", &["balance uri depth 1", "hash-type map-based crc32"], deep()).with(W),
        Case::new("depth2", &["balance uri depth 2 len 8", "hash-type map-based crc32"], deep())
            .with(W),
        Case::new("whole", &["balance uri whole", "hash-type map-based crc32"], deep()).with(W),
        Case::new("path", &["balance uri path-only", "hash-type map-based crc32"], deep()).with(W),
        Case::new(
            "path-d",
            &["balance uri path-only depth 1 whole", "hash-type consistent crc32"],
            deep(),
        )
        .with(W),
        Case::new("src", &["balance source"], sources()).with(W),
        Case::new("src-c", &["balance source", "hash-type consistent"], sources()),
        Case::new("src-a", &["balance source", "hash-type map-based sdbm avalanche"], sources()),
        Case::new("odd", &["balance hdr(x-k)", "hash-type map-based crc32"], odd_headers()).with(W),
        Case::new(
            "dom",
            &["balance hdr(host) use_domain_only", "hash-type map-based crc32"],
            hosts(),
        )
        .with(W),
        Case::new("par", &["balance url_param k", "hash-type map-based crc32"], parameters())
            .with(W),
    ]
}

/// Without a key: in turn, through the table or round the ring; and what has no key.
fn without_key() -> Vec<Case> {
    vec![
        Case::new("none-m", &["balance hdr(x-none)"], keys()).with(W),
        Case::new("none-c", &["balance hdr(x-none)", "hash-type consistent"], keys()).with(W),
        Case::new(
            "none-p",
            &["balance url_param k"],
            targets(&["/", "/?", "/?a=b", "/?kk=1", "/k=1", "/?k"]),
        ),
        Case::new(
            "none-h",
            &["balance hdr(x-k)"],
            vec![head("/", "x-k: \r\n"), head("/", "x-k: ,a\r\n"), head("/", "")],
        ),
        Case::new("static", &["balance static-rr"], paths()).with(W),
        Case::new("static5", &["balance static-rr"], paths()).with(["weight 5", "", ""]),
        Case::new(
            "factor",
            &["balance uri", "hash-type consistent", "hash-balance-factor 150"],
            paths(),
        ),
        Case::new("first", &["balance first"], paths()).with(["id 9", "id 3", "id 4"]),
    ]
}
