//! What clients do, and where our lines say something else than haproxy's.

use super::beside::{Scenario, Servers, Step};
use Step::{Fin, Hear, Heed, Pause, Reset, Say, Stall};

const GET: Step = Say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");

/// A scenario with the usual servers and no difference.
const fn same(name: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario { name, steps, servers: Servers::Origin, lines: &[], differs: &[] }
}

const fn on(servers: Servers, scenario: Scenario) -> Scenario {
    Scenario { servers, ..scenario }
}

const fn with(lines: &'static [&'static str], scenario: Scenario) -> Scenario {
    Scenario { lines, ..scenario }
}

/// `(field, ours, haproxy's)`.
const fn but(
    differs: &'static [(&'static str, &'static str, &'static str)],
    scenario: Scenario,
) -> Scenario {
    Scenario { differs, ..scenario }
}

const UPGRADE: Step =
    Say("GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
const NEVER: Step = Say("GET /never HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
const BIG: Step = Say("GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
const UPLOAD: Step = Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
const CHUNKS: Step =
    Say("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");

const EARLY: Step =
    Say("POST /early HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
const EMPTY: Step =
    Say("POST /empty HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");

/// HTTP.
pub(super) const HTTP: &[Scenario] = &[
    same(
        "kept",
        &[
            GET,
            Pause(200),
            Say("GET /404 HTTP/1.1\r\nHost: h\r\n\r\n"),
            Pause(100),
            Say("GET /chunked HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
            Hear,
        ],
    ),
    same(
        "ahead",
        &[
            Say(
                "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            ),
            Hear,
        ],
    ),
    same(
        "post",
        &[
            Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"),
            Hear,
        ],
    ),
    same(
        "slow-post",
        &[
            Say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabc"),
            Pause(400),
            Say("def"),
            Hear,
        ],
    ),
    same("old", &[Say("GET / HTTP/1.0\r\n\r\n"), Hear]),
    same("absolute", &[Say("GET http://h/x HTTP/1.0\r\nHost: h\r\n\r\n"), Hear]),
    same(
        "until-close",
        &[Say("GET /close HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear],
    ),
    same("head", &[Say("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear]),
    same("not-modified", &[Say("GET /304 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear]),
    same("slow", &[Say("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear]),
    same(
        "slow-head",
        &[
            Pause(300),
            Say("GET / HT"),
            Pause(300),
            Say("TP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
            Hear,
        ],
    ),
    same(
        "continue",
        &[
            Say(
                "POST /continue HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nabc",
            ),
            Hear,
        ],
    ),
    with(
        &[
            "capture request header a len 10",
            "capture request header x-long len 4",
            "capture request header none len 4",
            "capture response header content-length len 9",
        ],
        same(
            "captures",
            &[
                Say(
                    "GET /x?y=1 HTTP/1.1\r\nHost: h\r\nA: one\r\na: two\r\nX-Long: 123456789\r\nConnection: close\r\n\r\n",
                ),
                Hear,
            ],
        ),
    ),
    // Tunnels.
    // Half-closed by its server it lasts until its client closes, too; haproxy ends it at once.
    but(
        &[("total", "600", "200")],
        same("upgrade", &[UPGRADE, Pause(200), Say("close"), Pause(400), Fin, Hear]),
    ),
    same("upgrade-idle", &[UPGRADE, Pause(100), Say("mute"), Hear]),
    same("upgrade-reset", &[UPGRADE, Pause(200), Say("echo"), Pause(100), Reset]),
    // No connection.
    on(Servers::Refused, same("refused", &[GET, Pause(1700), Fin, Hear])),
    on(Servers::None, same("nobody", &[GET, Pause(100), Fin, Hear])),
    on(
        Servers::RefusedAndOrigin,
        same("redispatch", &[GET, Pause(300), GET, Pause(300), Fin, Hear]),
    ),
    on(Servers::TwoRefused, same("all-refused", &[GET, Pause(300), Fin, Hear])),
    // Connecting without `option redispatch`: the same one, after a pause each.
    with(
        &["no option redispatch", "retries 1"],
        on(Servers::Refused, same("refused-once", &[GET, Pause(900), Fin, Hear])),
    ),
    with(
        &["retries 1"],
        on(Servers::Mute, same("connect-timeout", &[GET, Pause(1400), Fin, Hear])),
    ),
    with(
        &["option abortonclose"],
        on(Servers::Refused, same("gone-connecting", &[GET, Pause(200), Fin, Hear])),
    ),
    but(
        &[
            ("state", "CC--", "SC--"),
            ("status", "-1", "503"),
            ("queue", "0", "1500"),
            ("total", "100", "1500"),
            ("retries", "1", "3"),
        ],
        on(Servers::Refused, same("reset-connecting", &[GET, Pause(100), Reset])),
    ),
    // No answer, or a bad one.
    same("empty", &[EMPTY, Hear]),
    same(
        "reset",
        &[
            Say(
                "POST /reset HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ),
            Hear,
        ],
    ),
    // It can be repeated, and is.
    but(
        &[("retries", "1", "0")],
        same(
            "empty-repeated",
            &[Say("GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear],
        ),
    ),
    same("garbage", &[Say("GET /garbage HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear]),
    same(
        "half-head",
        &[Say("GET /halfhead HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Hear],
    ),
    same("cut", &[Say("GET /cut HTTP/1.1\r\nHost: h\r\n\r\n"), Hear]),
    same("cut-chunk", &[Say("GET /cutchunk HTTP/1.1\r\nHost: h\r\n\r\n"), Hear]),
    same("bad-chunk", &[Say("GET /badchunk HTTP/1.1\r\nHost: h\r\n\r\n"), Hear]),
    same("never", &[NEVER, Hear]),
    same("stuck", &[Say("GET /stuck HTTP/1.1\r\nHost: h\r\n\r\n"), Hear]),
    // Clients that leave or stall.
    same("half-close", &[Say("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"), Pause(100), Fin, Hear]),
    but(
        &[("state", "CH--", "sH--"), ("status", "-1", "504"), ("total", "100", "1000")],
        same("reset-waiting", &[NEVER, Pause(100), Reset]),
    ),
    with(&["option abortonclose"], same("gone-waiting", &[NEVER, Pause(100), Fin, Hear])),
    with(
        &["option abortonclose"],
        but(
            &[("state", "CH--", "CD--")],
            same("reset-waiting-abortonclose", &[NEVER, Pause(100), Reset]),
        ),
    ),
    same("reset-in-body", &[BIG, Stall(300), Reset]),
    same("not-reading", &[BIG, Stall(2500), Reset]),
    same("gone-uploading", &[UPLOAD, Pause(100), Fin, Hear]),
    same("reset-uploading", &[UPLOAD, Pause(100), Reset]),
    with(
        &["timeout server 1500ms"],
        but(
            &[("state", "cD--", "sH--"), ("status", "408", "504"), ("total", "1200", "1500")],
            same("stalled-upload", &[UPLOAD, Hear]),
        ),
    ),
    same("bad-upload", &[CHUNKS, Pause(100), Say("zz\r\n"), Hear]),
    same(
        "bad-upload-at-once",
        &[
            Say(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
            ),
            Hear,
        ],
    ),
    // The answer did not wait for it, and was complete.
    same("bad-upload-early", &[EARLY, Heed, Pause(100), Say("zz\r\n"), Hear]),
    // No request.
    same("bad", &[Say("GET / HTTP/1.1\r\nHo st: h\r\n\r\n"), Hear]),
    with(
        &["option dontlognull"],
        same("null-bad", &[Say("GET / HTTP/1.1\r\nHo st: h\r\n\r\n"), Hear]),
    ),
    same("bad-second", &[GET, Pause(100), Say("GET / HTTP/1.1\r\nHo st: h\r\n\r\n"), Hear]),
    same("late", &[Say("GET / HTT"), Hear]),
    same("late-silent", &[Hear]),
    same("late-second", &[GET, Pause(100), Say("GET / HTT"), Hear]),
    same("left", &[Say("GET / HTT"), Fin, Hear]),
    same("left-second", &[GET, Pause(100), Say("GET / HTT"), Fin, Hear]),
    same("left-silent", &[Fin, Hear]),
    same("kept-too-long", &[GET, Hear]),
    with(&["option dontlognull"], same("late-null", &[Hear])),
    with(&["option dontlognull"], same("left-null", &[Fin, Hear])),
    with(&["option dontlognull"], same("left-not-null", &[Say("GET / HTT"), Fin, Hear])),
    // Cannot be repeated: haproxy closes without a line.
    but(
        &[("lines", "2", "1")],
        same(
            "died-kept",
            &[
                GET,
                Pause(100),
                Say("POST /empty HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"),
                Hear,
            ],
        ),
    ),
];

/// TCP.
pub(super) const TCP: &[Scenario] = &[
    same("tcp-echo", &[Say("echo"), Pause(200), Fin, Hear]),
    same("tcp-server-closes", &[Say("close"), Pause(300), Fin, Hear]),
    same("tcp-server-resets", &[Say("reset"), Hear]),
    same("tcp-client-resets", &[Say("echo"), Pause(100), Reset]),
    same("tcp-idle", &[Say("mute"), Hear]),
    with(&["timeout client 3s"], same("tcp-idle-server", &[Say("mute"), Hear])),
    with(&["timeout tunnel 600ms"], same("tcp-idle-tunnel", &[Say("mute"), Hear])),
    on(Servers::Refused, same("tcp-refused", &[Say("echo"), Hear])),
    on(Servers::RefusedAndOrigin, same("tcp-redispatch", &[Say("echo"), Pause(100), Fin, Hear])),
    on(Servers::None, same("tcp-nobody", &[Say("echo"), Hear])),
    same("tcp-silent", &[Pause(100), Fin, Hear]),
    with(&["option dontlognull"], same("tcp-null", &[Pause(100), Fin, Hear])),
    with(
        &["option dontlognull"],
        on(Servers::Refused, same("tcp-null-refused", &[Say("echo"), Hear])),
    ),
    with(&["option dontlognull"], on(Servers::Refused, same("tcp-null-refused-silent", &[Hear]))),
];
