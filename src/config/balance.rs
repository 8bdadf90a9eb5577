//! `balance`, `hash-type` and `hash-balance-factor`: haproxy's words, in its lines and in the native keys.
//!
//! The three are said apart and mean something together, so they are kept as said until a service's last word is known.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::haproxy::httpchk;
use super::reader::Cursor;
use super::report::Report;
use crate::lb::Strategy;
use crate::lb::hash::{Factor, Function, Hashing, Key, Lookup};
use crate::proxy::Mode;

/// Draws of `random` without a number: haproxy's.
const DRAWS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// Largest number that haproxy reads here.
const MAX_INT: u32 = i32::MAX as u32;

const ALGORITHMS: &str =
    "roundrobin, static-rr, leastconn, first, random, source, uri, hdr(NAME) or url_param";

/// What has been said about balancing. The default is haproxy's: `roundrobin`, `map-based`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancing {
    /// `balance`.
    pub algorithm: Algorithm,
    /// `hash-type`.
    pub hash_type: HashType,
    /// `hash-balance-factor`. Default none.
    pub factor: Option<Factor>,
}

/// `balance`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// haproxy's default up to 3.2.
    #[default]
    RoundRobin,
    /// `static-rr`.
    StaticRr,
    /// `leastconn`.
    LeastConn,
    /// `first`.
    First,
    /// `random(N)`.
    Random(NonZeroU32),
    /// `source`, `uri`, `hdr`, `url_param`.
    Hash(Key),
}

/// `hash-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashType {
    /// The first word.
    pub lookup: Lookup,
    /// The second.
    pub function: Function,
    /// The third, or implied.
    pub avalanche: bool,
}

impl Balancing {
    /// What it comes to in a service of `mode`: without requests there is nothing but the client's address to hash, and
    /// haproxy balances in turn.
    pub fn strategy(&self, mode: Mode) -> Strategy {
        match &self.algorithm {
            Algorithm::RoundRobin => Strategy::RoundRobin,
            Algorithm::StaticRr => Strategy::StaticRr,
            Algorithm::LeastConn => Strategy::LeastConn,
            Algorithm::First => Strategy::First,
            Algorithm::Random(draws) => Strategy::Random { draws: *draws, factor: self.factor },
            Algorithm::Hash(_) if self.is_odd(mode) => Strategy::RoundRobin,
            Algorithm::Hash(key) => Strategy::Hash(Arc::new(Hashing {
                key: key.clone(),
                function: self.hash_type.function,
                avalanche: self.hash_type.avalanche,
                lookup: self.hash_type.lookup,
                factor: self.factor,
            })),
        }
    }

    /// True when it cannot be done in `mode`.
    pub fn is_odd(&self, mode: Mode) -> bool {
        match &self.algorithm {
            Algorithm::Hash(key) => mode == Mode::Tcp && *key != Key::Source,
            Algorithm::RoundRobin
            | Algorithm::StaticRr
            | Algorithm::LeastConn
            | Algorithm::First
            | Algorithm::Random(_) => false,
        }
    }
}

/// The value of a native key, which takes haproxy's words.
pub(super) fn read<T>(
    value: &Cursor<'_>,
    parse: impl Fn(&[String]) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    let text = value.text(report)?;
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    parse(&words).map_err(|error| report.complain(value.place(), error)).ok()
}

/// The words after `balance`. None: haproxy's default.
pub(super) fn algorithm(words: &[String]) -> Result<Algorithm, String> {
    let Some((word, rest)) = words.split_first() else {
        return Ok(Algorithm::default());
    };
    let (name, argument) = match word.strip_suffix(')').and_then(|word| word.split_once('(')) {
        Some((name, argument)) => (name, Some(argument)),
        None => (word.as_str(), None),
    };
    let algorithm = match (name, argument) {
        ("roundrobin", None) => Algorithm::RoundRobin,
        ("static-rr", None) => Algorithm::StaticRr,
        ("leastconn", None) => Algorithm::LeastConn,
        ("first", None) => Algorithm::First,
        ("source", None) => Algorithm::Hash(Key::Source),
        ("random", None | Some("")) => Algorithm::Random(DRAWS),
        ("random", Some(draws)) => Algorithm::Random(positive("the number of draws", draws)?),
        ("uri", None) => return uri(rest),
        ("hdr", Some(name)) => return header(name, rest),
        ("url_param", None) => return parameter(rest),
        ("hdr", None) => return Err("`hdr` needs the name of a header: hdr(NAME)".to_owned()),
        _ => return Err(format!("{word:?} is not a balance algorithm; use {ALGORITHMS}")),
    };
    nothing_after(rest)?;
    Ok(algorithm)
}

fn uri(words: &[String]) -> Result<Algorithm, String> {
    let (mut length, mut depth, mut whole, mut path_only) = (None, None, false, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            let text = words.next().ok_or_else(|| format!("`{word}` needs a number"))?;
            positive(word, text).map(Some)
        };
        match word.as_str() {
            "len" => length = value()?,
            "depth" => depth = value()?,
            "whole" => whole = true,
            "path-only" => path_only = true,
            _ => {
                return Err(format!(
                    "unknown word {word:?}; use len N, depth N, whole or path-only"
                ));
            }
        }
    }
    Ok(Algorithm::Hash(Key::Uri { length, depth, whole, path_only }))
}

fn header(name: &str, words: &[String]) -> Result<Algorithm, String> {
    if !httpchk::is_token(name) {
        return Err(format!("{name:?} is not the name of a header"));
    }
    let domain = match words {
        [] => false,
        [word] if word == "use_domain_only" => true,
        [word, ..] => return Err(format!("unknown word {word:?}; use use_domain_only")),
    };
    Ok(Algorithm::Hash(Key::Header { name: name.into(), domain }))
}

fn parameter(words: &[String]) -> Result<Algorithm, String> {
    match words {
        [] => Err("`url_param` needs the name of a parameter".to_owned()),
        [name] => Ok(Algorithm::Hash(Key::Parameter(name.as_str().into()))),
        [_, word, ..] if word == "check_post" => Err(
            "bodies are not searched: clients that send the parameter in one would be balanced in turn; \
             remove check_post if they do not"
                .to_owned(),
        ),
        [_, word, ..] => Err(format!("the word {word:?} is too much")),
    }
}

/// The words after `hash-type`.
pub(super) fn hash_type(words: &[String]) -> Result<HashType, String> {
    let mut words = words.iter().map(String::as_str);
    let lookup = match words.next() {
        Some("map-based") => Lookup::Map,
        Some("consistent") => Lookup::Consistent,
        word => {
            let word = word.unwrap_or_default();
            return Err(format!("{word:?} is not a type of hash; use map-based or consistent"));
        }
    };
    let function = match words.next() {
        // Only the bare word implies it.
        None => {
            let avalanche = lookup == Lookup::Consistent;
            return Ok(HashType { lookup, function: Function::Sdbm, avalanche });
        }
        Some("sdbm") => Function::Sdbm,
        Some("djb2") => Function::Djb2,
        Some("wt6") => Function::Wt6,
        Some("crc32") => Function::Crc32,
        Some(word) => {
            return Err(format!("{word:?} is not a hash function; use sdbm, djb2, wt6 or crc32"));
        }
    };
    let avalanche = match words.next() {
        None => false,
        Some("avalanche") => true,
        Some(word) => return Err(format!("unknown word {word:?}; use avalanche")),
    };
    match words.next() {
        None => Ok(HashType { lookup, function, avalanche }),
        Some(word) => Err(format!("the word {word:?} is too much")),
    }
}

/// The value of `hash-balance-factor`; 0 is off.
pub(super) fn factor(text: &str) -> Result<Option<Factor>, String> {
    let percent = text.parse::<u32>().ok().filter(|percent| *percent <= MAX_INT);
    match percent.map(|percent| (percent, Factor::new(percent))) {
        Some((0, _)) => Ok(None),
        Some((_, Some(factor))) => Ok(Some(factor)),
        Some((_, None)) | None => Err(format!("{text:?} is neither 0 nor a number above 100")),
    }
}

fn positive(what: &str, text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse::<NonZeroU32>().ok().filter(|number| number.get() <= MAX_INT);
    number.ok_or_else(|| format!("`{what}`: {text:?} is not a number from 1 to {MAX_INT}"))
}

fn nothing_after(words: &[String]) -> Result<(), String> {
    words.first().map_or(Ok(()), |word| Err(format!("the word {word:?} is too much")))
}

/// As haproxy's line says it.
impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("roundrobin"),
            Self::StaticRr => f.write_str("static-rr"),
            Self::LeastConn => f.write_str("leastconn"),
            Self::First => f.write_str("first"),
            Self::Random(draws) => write!(f, "random({draws})"),
            Self::Hash(Key::Source) => f.write_str("source"),
            Self::Hash(Key::Uri { length, depth, whole, path_only }) => {
                f.write_str("uri")?;
                length.map_or(Ok(()), |n| write!(f, " len {n}"))?;
                depth.map_or(Ok(()), |n| write!(f, " depth {n}"))?;
                f.write_str(if *whole { " whole" } else { "" })?;
                f.write_str(if *path_only { " path-only" } else { "" })
            }
            Self::Hash(Key::Header { name, domain }) => {
                write!(f, "hdr({name}){}", if *domain { " use_domain_only" } else { "" })
            }
            Self::Hash(Key::Parameter(name)) => write!(f, "url_param {name}"),
        }
    }
}

impl std::fmt::Display for HashType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lookup = match self.lookup {
            Lookup::Map => "map-based",
            Lookup::Consistent => "consistent",
        };
        let function = match self.function {
            Function::Sdbm => "sdbm",
            Function::Djb2 => "djb2",
            Function::Wt6 => "wt6",
            Function::Crc32 => "crc32",
        };
        write!(f, "{lookup} {function}{}", if self.avalanche { " avalanche" } else { "" })
    }
}

/// `off`, or the percentage.
pub(super) fn show_factor(factor: Option<Factor>) -> String {
    factor.map_or_else(|| "off".to_owned(), |factor| factor.percent().to_string())
}

#[cfg(test)]
mod tests;
