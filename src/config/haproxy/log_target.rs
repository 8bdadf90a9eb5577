//! The words of a `log` line: where to, in which form, how severe.

use std::path::PathBuf;

use super::values::number;
use crate::telemetry::access::{Facility, Framing, Level, MAX_LEN, Place};

/// Port of a syslog server that names none.
const SYSLOG_PORT: u16 = 514;

/// haproxy's bounds of `len`.
const LENGTHS: std::ops::RangeInclusive<usize> = 80..=65_535;

/// Longest path of a unix socket: Linux's `sun_path` less its end.
const MAX_SOCKET_PATH: usize = 107;

/// Syslog facilities by number.
pub(in crate::config) const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
    "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Syslog levels by number.
pub(super) const LEVELS: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The words for `format`.
pub(in crate::config) const FRAMINGS: [(&str, Framing); 8] = [
    ("raw", Framing::Raw),
    ("short", Framing::Short),
    ("rfc3164", Framing::Rfc3164),
    ("local", Framing::Local),
    ("rfc5424", Framing::Rfc5424),
    ("priority", Framing::Priority),
    ("iso", Framing::Iso),
    ("timed", Framing::Timed),
];

/// What a `log` line says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogTarget {
    pub(super) place: Place,
    /// `None`: `rfc3164` with `log-send-hostname`, else `local`.
    pub(super) framing: Option<Framing>,
    pub(super) max_len: usize,
    pub(super) facility: Facility,
    pub(super) max_level: Level,
    pub(super) min_level: Level,
}

impl LogTarget {
    /// Reads `<target> [len N] [format F] <facility> [maxlevel [minlevel]]`.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        let (target, mut rest) = words.split_first().ok_or("the target is missing")?;
        let mut it = Self {
            place: place(target)?,
            framing: None,
            max_len: MAX_LEN,
            facility: Facility::LOCAL0,
            max_level: Level::DEBUG,
            min_level: Level::EMERG,
        };
        loop {
            rest = match rest {
                [word, value, after @ ..] if word == "len" => {
                    it.max_len = number(value, LENGTHS)?;
                    after
                }
                [word, value, after @ ..] if word == "format" => {
                    it.framing = Some(framing(value)?);
                    after
                }
                [word, ..] if word == "len" || word == "format" => {
                    return Err(format!("`{word}` needs a value"));
                }
                [word, ..] if word == "sample" || word == "profile" => {
                    return Err(format!("`{word}` is not offered; remove it, all lines are sent"));
                }
                rest => return it.severity(rest),
            }
        }
    }

    fn severity(mut self, words: &[String]) -> Result<Self, String> {
        let (facility, levels) = words.split_first().ok_or("the facility is missing")?;
        self.facility = Facility(number_of(facility, &FACILITIES, "a facility")?);
        let level = |word: &String| Ok::<_, String>(Level(number_of(word, &LEVELS, "a level")?));
        match levels {
            [] => {}
            [max] => self.max_level = level(max)?,
            [max, min] => {
                self.max_level = level(max)?;
                self.min_level = level(min)?;
            }
            [_, _, word, ..] => return Err(format!("the word {word:?} is too much")),
        }
        Ok(self)
    }
}

fn framing(word: &str) -> Result<Framing, String> {
    let found = FRAMINGS.iter().find(|(name, _)| *name == word);
    found.map(|(_, framing)| *framing).ok_or_else(|| {
        let names: Vec<&str> = FRAMINGS.iter().map(|(name, _)| *name).collect();
        format!("{word:?} is not a format; use one of {}", names.join(", "))
    })
}

/// The place of `word` among `names`.
pub(in crate::config) fn number_of(word: &str, names: &[&str], what: &str) -> Result<u8, String> {
    let found = names.iter().position(|name| *name == word);
    found
        .and_then(|at| u8::try_from(at).ok())
        .ok_or_else(|| format!("{word:?} is not {what}; use one of {}", names.join(", ")))
}

/// Where a target of haproxy's lies.
fn place(word: &str) -> Result<Place, String> {
    let not_offered = |what: &str| {
        Err(format!("{what} are not offered as log targets; use udp, a unix socket or stdout"))
    };
    match word {
        "stdout" | "fd@1" => return Ok(Place::Stdout),
        "stderr" | "fd@2" => return Ok(Place::Stderr),
        _ => {}
    }
    let (family, rest) = word.split_once('@').unwrap_or(("", word));
    match family {
        "unix" | "uxdg" => socket(rest).map(Place::Unix),
        "" if rest.starts_with('/') => socket(rest).map(Place::Unix),
        "" | "udp" | "udp4" | "udp6" | "ipv4" | "ipv6" => server(rest).map(Place::Udp),
        "tcp" | "tcp4" | "tcp6" => not_offered("tcp connections"),
        "ring" | "backend" => not_offered("rings and backends"),
        _ => not_offered("descriptors, abstract sockets and the like"),
    }
}

/// The path of a unix socket that an address has room for.
pub(in crate::config) fn socket(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() || path.len() > MAX_SOCKET_PATH {
        return Err(format!("{path:?} is no path of a socket: 1 to {MAX_SOCKET_PATH} bytes"));
    }
    Ok(PathBuf::from(path))
}

/// `HOST[:PORT]`, with brackets around an IPv6 address.
pub(in crate::config) fn server(text: &str) -> Result<std::sync::Arc<str>, String> {
    let wrong = || format!("{text:?} is not HOST:PORT");
    let (host, port) = match text.rsplit_once(':') {
        // `[::1]` has no port.
        Some((_, port)) if port.ends_with(']') => (text, SYSLOG_PORT),
        Some((host, port)) => (host, port.parse().map_err(|_not_a_number| wrong())?),
        None => (text, SYSLOG_PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
    if bare.is_empty() || port == 0 || !bare.chars().all(is_name) {
        return Err(wrong());
    }
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    Ok(format!("{host}:{port}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LogTarget, String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        LogTarget::parse(&words)
    }

    #[test]
    fn yelps_line_is_read() {
        let expected = LogTarget {
            place: Place::Udp("127.0.0.1:1514".into()),
            framing: None,
            max_len: 1024,
            facility: Facility(3),
            max_level: Level::INFO,
            min_level: Level::EMERG,
        };
        assert_eq!(parse("127.0.0.1:1514 daemon info"), Ok(expected));
    }

    #[test]
    fn all_words_are_read() {
        let it = parse("/dev/log len 8192 format rfc5424 local7 notice err").unwrap();
        assert_eq!(it.place, Place::Unix("/dev/log".into()));
        assert_eq!((it.framing, it.max_len), (Some(Framing::Rfc5424), 8192));
        assert_eq!((it.facility, it.max_level, it.min_level), (Facility(23), Level(5), Level::ERR));
    }

    #[test]
    fn targets_are_written_in_many_ways() {
        for (text, place) in [
            ("stdout", Place::Stdout),
            ("fd@1", Place::Stdout),
            ("stderr", Place::Stderr),
            ("unix@/run/log", Place::Unix("/run/log".into())),
            ("logs.example.com", Place::Udp("logs.example.com:514".into())),
            ("udp@10.0.0.1:515", Place::Udp("10.0.0.1:515".into())),
            ("::1:514", Place::Udp("[::1]:514".into())),
            ("[::1]", Place::Udp("[::1]:514".into())),
            ("[fe80::1%eth0]:1", Place::Udp("[fe80::1%eth0]:1".into())),
        ] {
            assert_eq!(parse(&format!("{text} daemon")).unwrap().place, place, "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        for (text, part) in [
            ("127.0.0.1", "the facility is missing"),
            ("127.0.0.1 demon", "\"demon\" is not a facility"),
            ("127.0.0.1 daemon inf", "\"inf\" is not a level"),
            ("127.0.0.1 daemon info err x", "\"x\" is too much"),
            ("127.0.0.1 len 12 daemon", "12"),
            ("127.0.0.1 len", "`len` needs a value"),
            ("127.0.0.1 format json daemon", "\"json\" is not a format"),
            ("127.0.0.1 sample 1:2 daemon", "`sample` is not offered"),
            ("ring@r daemon", "rings and backends"),
            ("tcp@h:1 daemon", "tcp connections"),
            ("host:x daemon", "\"host:x\" is not HOST:PORT"),
            (":514 daemon", "\":514\" is not HOST:PORT"),
            ("unix@ daemon", "\"\" is no path of a socket"),
            (&format!("/{:0107} daemon", 0), "1 to 107 bytes"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_words_never_panic(words in proptest::collection::vec("\\PC{0,12}", 0..6)) {
            drop(LogTarget::parse(&words));
        }
    }
}
