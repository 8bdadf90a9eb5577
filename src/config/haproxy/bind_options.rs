//! The words of a `bind` line after its address.

use super::server::{MAX_INT, not_yet, refused, unknown};
use super::table::{self, Class, Sections};
use super::values::{number, time};
use crate::config::accounts;
use crate::config::report::{Place, Report};
use crate::proxy::SocketOptions;
use crate::proxy::http2::FrontProtocol;
use crate::proxy::listener::Permissions;

/// What the words after an address say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// About the socket.
    pub(super) socket: SocketOptions,
    /// `proto`.
    pub(super) protocol: FrontProtocol,
    /// `v6only`: `::` does not stand for IPv4 as well.
    pub(super) is_v6_only: bool,
}

/// Reads the words after the address, or `bind_options`.
pub(super) fn options_of(words: &[String], place: &Place, report: &mut Report) -> Options {
    let mut options = Options::default();
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        let Some(directive) = table::find(std::slice::from_ref(word), Sections::BIND) else {
            report.complain(place, format!("`bind`: {}", unknown(word, Sections::BIND)));
            let meant = table::nearest(std::slice::from_ref(word), Sections::BIND);
            rest = rest.get(meant.map_or(0, |directive| directive.args)..).unwrap_or_default();
            continue;
        };
        let Some((args, after)) = rest.split_at_checked(directive.args) else {
            report.complain(place, format!("`bind`: `{word}` needs a value"));
            break;
        };
        rest = after;
        match directive.class {
            Class::Harmless => {}
            Class::NotYet { meanwhile } => {
                report.warn(place, format!("`bind`: {}", not_yet(word, meanwhile)));
            }
            Class::Refused { reason, instead } => {
                report.complain(place, format!("`bind`: {}", refused(word, reason, instead)));
            }
            Class::Supported => {
                let value = args.first().map_or("", String::as_str);
                if let Err(error) = options.set(directive.keyword, value) {
                    report.complain(place, format!("`bind`: `{word}`: {error}"));
                }
            }
        }
    }
    options
}

impl Options {
    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        let socket = &mut self.socket;
        match word {
            "accept-proxy" => socket.accept_proxy = true,
            "v6only" => self.is_v6_only = true,
            "v4v6" => self.is_v6_only = false,
            "proto" => self.protocol = protocol(value)?,
            // 0 is haproxy's "not set".
            "backlog" => {
                socket.backlog = Some(number(value, 0..=MAX_INT)?).filter(|length| *length > 0);
            }
            "maxconn" => {
                socket.max_connections = Some(number(value, 0..=MAX_INT)?).filter(|max| *max > 0);
            }
            "interface" => socket.interface = Some(interface(value)?.into()),
            "tcp-ut" => socket.user_timeout = Some(time(value)?).filter(|time| !time.is_zero()),
            "mss" => socket.max_segment = Some(number(value, MIN_SEGMENT..=MAX_SEGMENT)?),
            _ => return permission(&mut socket.permissions, word, value),
        }
        Ok(())
    }
}

/// The kernel's bounds of `TCP_MAXSEG`. haproxy takes less and warns that it could not be set; a negative value, which
/// is taken from the default there, is not offered.
const MIN_SEGMENT: u16 = 88;
const MAX_SEGMENT: u16 = 32_767;

/// Longest name of an interface (the kernel's IFNAMSIZ, less the final zero).
const MAX_INTERFACE_BYTES: usize = 15;

fn interface(name: &str) -> Result<&str, String> {
    let is_name = !name.is_empty() && name.len() <= MAX_INTERFACE_BYTES && !name.contains('/');
    is_name.then_some(name).ok_or_else(|| format!("{name:?} is not the name of an interface"))
}

/// A word about a unix socket's file, on a `bind` line or of `unix-bind`.
pub(super) fn permission(
    permissions: &mut Permissions,
    word: &str,
    value: &str,
) -> Result<(), String> {
    match word {
        "mode" => {
            let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
            let wrong = || format!("{value:?} is not an octal mode such as 660");
            permissions.mode = Some(mode.ok_or_else(wrong)?);
        }
        "uid" => permissions.uid = Some(number(value, 0..=MAX_ID)?),
        "gid" => permissions.gid = Some(number(value, 0..=MAX_ID)?),
        "user" => {
            let unknown = || format!("no user {value:?} on this host");
            permissions.uid = Some(accounts::user(value).ok_or_else(unknown)?.0);
        }
        "group" => {
            let unknown = || format!("no group {value:?} on this host");
            permissions.gid = Some(accounts::group(value).ok_or_else(unknown)?);
        }
        other => return Err(format!("supported, but {other:?} has no rule; this is a bug")),
    }
    Ok(())
}

/// The highest id; the next one means "none" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// haproxy refuses it, too.
pub(super) const PROTOCOL_IN_TCP: &str =
    "`proto` needs `mode http`: in mode tcp bytes pass whatever they mean";

fn protocol(value: &str) -> Result<FrontProtocol, String> {
    match value {
        "h1" => Ok(FrontProtocol::Http1),
        "h2" => Ok(FrontProtocol::Http2),
        _ => Err(format!("{value:?} is not offered; use h1 or h2")),
    }
}
