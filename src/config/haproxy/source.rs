//! `source` and what stands with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::bind;
use super::values::number;
use crate::dial::Source;

/// `ADDR[:PORT[-PORT]] [interface IF]`.
pub(super) fn source_line(args: &[String]) -> Result<(Source, Option<Arc<str>>), String> {
    let (address, mut rest) = args.split_first().ok_or("the address is missing")?;
    let source = source(address)?;
    let mut on = None;
    while let [word, after @ ..] = rest {
        let [name, after @ ..] = after else {
            return Err(format!("`{word}` needs a value"));
        };
        match word.as_str() {
            "interface" => on = Some(device(name)?),
            "usesrc" => return Err(format!("`usesrc` is refused: {}", USESRC.0)),
            other => return Err(format!("unknown word {other:?}; use interface")),
        }
        rest = after;
    }
    Ok((source, on))
}

/// Why `usesrc` is refused, and what to do instead.
pub(super) const USESRC: (&str, &str) = (
    "backends would see this host's address instead of the client's",
    "tell them with `send-proxy` or `option forwardfor`",
);

/// `ADDR[:PORT[-PORT]]`; `*` or nothing is any address. A name is looked up, now.
pub(in crate::config) fn source(text: &str) -> Result<Source, String> {
    source_by(text, |name| bind::resolve(name, 0))
}

/// The same of a registration, with an address: who registers must not make us wait for a resolver.
pub(super) fn literal_source(text: &str) -> Result<Source, String> {
    source_by(text, |name| Err(format!("{name:?} is not an address; names are not looked up here")))
}

fn source_by(
    text: &str,
    look_up: impl Fn(&str) -> Result<IpAddr, String>,
) -> Result<Source, String> {
    let (plain, any) = match (text.strip_prefix("ipv4@"), text.strip_prefix("ipv6@")) {
        (_, Some(plain)) => (plain, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        (plain, None) => (plain.unwrap_or(text), Ipv4Addr::UNSPECIFIED.into()),
    };
    // `::1` has colons, but no port.
    let (host, ports) = match plain.rsplit_once(':') {
        Some(_) if plain.parse::<Ipv6Addr>().is_ok() || plain.ends_with(']') => (plain, ""),
        Some((host, ports)) => (host, ports),
        None => (plain, ""),
    };
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    let ip = match bare {
        "" | "*" => any,
        bare => match bare.parse() {
            Ok(ip) => ip,
            Err(_) => look_up(bare)?,
        },
    };
    Ok(Source { ip, ports: port_range(ports)? })
}

fn port_range(text: &str) -> Result<Option<RangeInclusive<u16>>, String> {
    let one = |port: &str| number(port, 1..=u16::MAX);
    let (low, high) = match text.split_once('-') {
        // haproxy's 0 is any.
        None if text.is_empty() || text == "0" => return Ok(None),
        None => (one(text)?, one(text)?),
        Some((low, high)) => (one(low)?, one(high)?),
    };
    if low > high {
        return Err(format!("{text:?} is not a range of ports, lowest first"));
    }
    Ok(Some(low..=high))
}

/// Longest name of a device, `IFNAMSIZ` with its end.
const MAX_DEVICE: usize = 15;

/// The name of an interface.
pub(in crate::config) fn device(text: &str) -> Result<Arc<str>, String> {
    let is_name = !text.is_empty() && text.len() <= MAX_DEVICE && !text.contains(['/', '\0']);
    is_name.then(|| text.into()).ok_or_else(|| format!("{text:?} is not the name of an interface"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_haproxy_writes_them() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:0", "10.0.0.1"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
            ("10.0.0.1:5000-6000", "10.0.0.1:5000-6000"),
            ("*", "0.0.0.0"),
            (":5000-5001", "0.0.0.0:5000-5001"),
            ("ipv4@127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:80", "[::1]:80"),
            ("ipv6@*", "::"),
            ("ipv6@::1", "::1"),
        ] {
            assert_eq!(source(text).unwrap().to_string(), shown, "{text}");
        }
        for text in
            ["10.0.0.1:6000-5000", "10.0.0.1:x", "10.0.0.1:70000", "no name", "5", "a:1-2-3"]
        {
            assert!(source(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_source_may_have_a_device_and_nothing_else() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (source, on) = source_line(&words("10.0.0.1 interface eth0")).unwrap();
        assert_eq!((source.to_string().as_str(), on.as_deref()), ("10.0.0.1", Some("eth0")));
        for (text, error) in [
            ("10.0.0.1 usesrc clientip", "`usesrc` is refused: "),
            ("10.0.0.1 interface", "`interface` needs a value"),
            ("10.0.0.1 interface much-too-long-name", "\"much-too-long-name\" is not the name"),
            ("10.0.0.1 x y", "unknown word \"x\""),
        ] {
            let said = source_line(&words(text)).unwrap_err();
            assert!(said.starts_with(error), "{text}: {said}");
        }
    }
}
