//! `checks` of a service.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::defaults;
use super::service::{Identity, host};
use crate::config::haproxy::httpchk;
use crate::config::reader::{Cursor, Section};
use crate::config::report::Report;
use crate::config::text::{BareNumber, nearest, show};
use crate::health::local::{Exec, LocalCheck, LocalHttp, LocalProbe, Password, Target};

/// Keys of every check, and all that `tcp`, `redis` and `noop` have.
pub(super) const KEYS: [&str; 8] =
    ["type", "name", "host", "port", "timeout", "rise", "fall", "module"];

/// Keys of an `http` check.
pub(super) const HTTP_KEYS: [&str; 15] = [
    "type",
    "name",
    "host",
    "port",
    "timeout",
    "rise",
    "fall",
    "module",
    "uri",
    "headers",
    "expect",
    "open_timeout",
    "read_timeout",
    "ssl",
    "ssl_timeout",
];

/// Keys of a `rabbitmq` check.
pub(super) const RABBITMQ_KEYS: [&str; 10] =
    ["type", "name", "host", "port", "timeout", "rise", "fall", "module", "username", "password"];

/// Keys of an `exec` check.
pub(super) const EXEC_KEYS: [&str; 9] =
    ["type", "name", "host", "port", "timeout", "rise", "fall", "module", "command"];

const TYPES: [&str; 6] = ["tcp", "http", "redis", "rabbitmq", "noop", "exec"];

/// What the readers of checks have in common.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// Whose checks they are.
    pub(super) service: &'a Identity,
    /// Whether `exec` may be asked for: programs come from the file, never from the push API.
    pub(super) allow_exec: bool,
    /// Reasons to leave the service out.
    pub(super) refused: Report,
}

impl Reader<'_> {
    /// Reads the list; checks that cannot be used are complained about (or refused) and left out.
    pub(super) fn read(&mut self, service: &Section<'_>, report: &mut Report) -> Vec<LocalCheck> {
        let items = service.get("checks").map(|c| c.items()).unwrap_or_default();
        items.iter().filter_map(|item| self.check(item, report)).collect()
    }

    fn check(&mut self, cursor: &Cursor<'_>, report: &mut Report) -> Option<LocalCheck> {
        let Some(kind) = cursor.peek("type") else {
            // Complains itself when there is no map at all.
            cursor.section(&EXEC_KEYS, report)?;
            let text = format!("is required: one of {}", TYPES.join(", "));
            report.complain(&cursor.place().key("type"), text);
            return None;
        };
        let name = kind.text(report)?;
        match name.to_lowercase().as_str() {
            "tcp" => self.plain(cursor, "tcp", LocalProbe::Tcp, report),
            "redis" => self.plain(cursor, "redis", LocalProbe::Redis, report),
            "noop" => self.plain(cursor, "noop", |_| LocalProbe::Noop, report),
            "http" => self.http(&cursor.section(&HTTP_KEYS, report)?, report),
            "rabbitmq" => self.rabbitmq(&cursor.section(&RABBITMQ_KEYS, report)?, report),
            "exec" => self.exec(&cursor.section(&EXEC_KEYS, report)?, report),
            "base" => {
                let text = "\"base\" always fails: the service would never be registered";
                report.complain(kind.place(), text);
                None
            }
            other => {
                report.complain(kind.place(), unknown_type(&name, other));
                None
            }
        }
    }

    fn plain(
        &self,
        cursor: &Cursor<'_>,
        kind: &str,
        probe: impl FnOnce(Target) -> LocalProbe,
        report: &mut Report,
    ) -> Option<LocalCheck> {
        let section = cursor.section(&KEYS, report)?;
        let common = self.common(&section, kind, report)?;
        let probe = probe(common.target.clone());
        Some(common.check(probe))
    }

    fn http(&mut self, section: &Section<'_>, report: &mut Report) -> Option<LocalCheck> {
        let common = self.common(section, "http", report);
        let uri = section.required("uri", report).and_then(|c| uri(&c, report));
        let time = |key: &str, report: &mut Report| {
            section.get(key).and_then(|c| c.duration(BareNumber::Seconds, report))
        };
        let connect_timeout = time("open_timeout", report).unwrap_or(defaults::OPEN_TIMEOUT);
        let read_timeout = time("read_timeout", report);
        time("ssl_timeout", report);
        let headers = section.get("headers").map(|c| headers(&c, report)).unwrap_or_default();
        let expect = section.text("expect", report).map(Arc::from);
        if section.flag("ssl", false, report) {
            let text = "https checks do not exist here yet; the service is left out, check its plain port or use exec";
            self.refused.complain(&section.place().key("ssl"), text);
        }
        let mut common = common?;
        let uri: Arc<str> = Arc::from(uri?);
        let Target { host, port } = &common.target;
        // Overwritten in the original, whatever `name` says.
        common.name = format!("http-{host}:{port}{uri}");
        common.deadline = connect_timeout + read_timeout.unwrap_or(common.deadline);
        let target = common.target.clone();
        let http = LocalHttp { target, uri, headers, expect, connect_timeout };
        Some(common.check(LocalProbe::Http(http)))
    }

    fn rabbitmq(&self, section: &Section<'_>, report: &mut Report) -> Option<LocalCheck> {
        let common = self.common(section, "rabbitmq", report);
        let guest = || defaults::RABBITMQ_GUEST.to_owned();
        let username = Arc::from(section.text("username", report).unwrap_or_else(guest));
        let password = section.get("password").and_then(|c| c.secret(report));
        let password = Password::from(password.unwrap_or_else(guest));
        let common = common?;
        let target = common.target.clone();
        Some(common.check(LocalProbe::RabbitMq { target, username, password }))
    }

    fn exec(&self, section: &Section<'_>, report: &mut Report) -> Option<LocalCheck> {
        let common = self.common(section, "exec", report);
        let exec = section.required("command", report).and_then(|c| command(&c, report));
        if !self.allow_exec {
            let text = "exec checks stand in the file only: nobody may run programs from outside";
            report.complain(&section.place().key("type"), text);
        }
        Some(common?.check(LocalProbe::Exec(exec?)))
    }

    fn common(&self, section: &Section<'_>, kind: &str, report: &mut Report) -> Option<Common> {
        let own_host = match section.get("host") {
            Some(cursor) => host(&cursor, report).map(Arc::from),
            None => self.service.host.clone(),
        };
        let own_port = match section.get("port") {
            Some(cursor) => cursor.port(report),
            None => self.service.port,
        };
        let timeout = section.get("timeout").and_then(|c| c.duration(BareNumber::Seconds, report));
        let count = |key: &str, report: &mut Report| {
            let cursor = section.get(key)?;
            let count = cursor.integer(1..=u64::from(u32::MAX), "a number of results", report)?;
            u32::try_from(count).ok().and_then(NonZeroU32::new)
        };
        let rise = count("rise", report).unwrap_or(defaults::RISE_FALL);
        let fall = count("fall", report).unwrap_or(defaults::RISE_FALL);
        let name = section.get("name").and_then(|c| c.word(report));
        // The service's own are complained about where they stand.
        let target = Target { host: own_host?, port: own_port? };
        Some(Common {
            name: name.unwrap_or_else(|| {
                format!("{} {kind}-{}:{}", self.service.name, target.host, target.port)
            }),
            deadline: timeout.unwrap_or(defaults::CHECK_TIMEOUT),
            target,
            rise,
            fall,
        })
    }
}

/// What every check has.
#[derive(Debug)]
struct Common {
    name: String,
    target: Target,
    deadline: Duration,
    rise: NonZeroU32,
    fall: NonZeroU32,
}

impl Common {
    fn check(self, probe: LocalProbe) -> LocalCheck {
        let Self { name, target: _, deadline, rise, fall } = self;
        LocalCheck { name: name.into(), probe, deadline, rise, fall }
    }
}

fn unknown_type(name: &str, lower: &str) -> String {
    let types = TYPES.join(", ");
    match nearest(lower, &TYPES) {
        Some(near) => format!("{name:?} is not a check; did you mean {near:?}? ({types})"),
        None => format!(
            "{name:?} is not a check: {types}; gems (module) cannot be loaded, use exec for checks of your own"
        ),
    }
}

/// As written: the probe escapes what may not stand in a request and puts a missing `/` before it.
fn uri(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let uri = cursor.word(report)?;
    if uri.chars().any(char::is_control) {
        report.complain(cursor.place(), format!("{} is not a uri", show(cursor.value())));
        return None;
    }
    if !uri.starts_with('/') && !uri.contains("://") {
        report.warn(
            cursor.place(),
            format!("{uri:?} does not begin with \"/\": it is asked as \"/{uri}\""),
        );
    }
    Some(uri)
}

fn headers(cursor: &Cursor<'_>, report: &mut Report) -> Vec<(Arc<str>, Arc<str>)> {
    let mut headers = Vec::new();
    for (name, value) in cursor.entries(report) {
        let Some(text) = value.text(report) else {
            continue;
        };
        let text = text.trim();
        if !httpchk::is_token(name) || text.chars().any(|c| c.is_control() && c != '\t') {
            report.complain(value.place(), format!("{name:?}: {text:?} is not a header"));
            continue;
        }
        headers.push((Arc::from(name), Arc::from(text)));
    }
    headers
}

/// A list of words, or one string that is split on blanks. No shell: nothing is quoted or expanded.
fn command(cursor: &Cursor<'_>, report: &mut Report) -> Option<Exec> {
    let mut words = match cursor.value() {
        Value::Array(_) => {
            let items = cursor.items();
            items.iter().map(|item| item.text(report)).collect::<Option<Vec<_>>>()?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            cursor.text(report)?.split_whitespace().map(ToOwned::to_owned).collect()
        }
    };
    let is_usable = words.first().is_some_and(|program| !program.is_empty());
    if !is_usable || words.iter().any(|word| word.contains('\0')) {
        let text = format!("{} is not a program and its arguments", show(cursor.value()));
        report.complain(cursor.place(), text);
        return None;
    }
    let program = PathBuf::from(words.remove(0));
    Some(Exec { program, arguments: words })
}
