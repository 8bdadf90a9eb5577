//! Process-wide keys of the Nerve file.

use std::path::{Path, PathBuf};

use super::{NerveProcess, defaults};
use crate::config::Complaint;
use crate::config::daemon::{self, Host};
use crate::config::defaults::SESSION_TIMEOUT;
use crate::config::reader::Section;
use crate::config::report::Report;
use crate::config::statsd;
use crate::config::template::Env;
use crate::config::text::{BareNumber, show};
use crate::config::zookeeper::is_node_char;

/// Keys of the top level. `listen_port` is dead in the original, too (Airbnb's cookbook writes it).
pub(super) const KEYS: [&str; 14] = [
    "instance_id",
    "services",
    "service_conf_dir",
    "heartbeat_path",
    "max_repeated_report_failures",
    "statsd",
    "flap_damping",
    "admin",
    "state_dir",
    "zk_session_timeout",
    "drain_delay",
    "stop_timeout",
    "log",
    "listen_port",
];

/// Keys of `admin`.
pub(super) const ADMIN_KEYS: [&str; 2] = ["listen", "push"];

/// Reads the process-wide settings. What is about this host rather than about the file goes to `notes`.
pub(super) fn read(
    top: &Section<'_>,
    env: &Env,
    notes: &mut Vec<Complaint>,
    report: &mut Report,
) -> NerveProcess {
    let (admin_listen, admin_push) = admin(top, report);
    let host = Host { env, state_dir: Path::new(defaults::STATE_DIR) };
    let (state_dir, _origin) = daemon::state_dir(top, &host, notes, report);
    let session = top.get("zk_session_timeout");
    let session_timeout =
        session.and_then(|c| daemon::session_timeout(&c, report)).unwrap_or(SESSION_TIMEOUT);
    let drain_delay = top.get("drain_delay").and_then(|c| c.delay(BareNumber::Seconds, report));
    let stop_timeout =
        top.get("stop_timeout").and_then(|c| c.duration(BareNumber::Seconds, report));
    if let Some(failures) = top.get("max_repeated_report_failures")
        && failures.integer(0..=u64::MAX, "a number of failures", report).is_some()
    {
        let text = "no effect: a report is repeated until the registry acknowledges it";
        notes.push(failures.place().complaint(text));
    }
    NerveProcess {
        admin_listen,
        admin_push,
        state_dir,
        session_timeout,
        heartbeat: top.get("heartbeat_path").and_then(|c| c.word(report)).map(PathBuf::from),
        drain_delay: drain_delay.unwrap_or(defaults::DRAIN_DELAY),
        stop_timeout: stop_timeout.unwrap_or(defaults::STOP_TIMEOUT),
        log_format: daemon::log_format(top, report),
        statsd: top.get("statsd").map(|c| statsd::read(&c, &statsd::NERVE_KEYS, report)),
    }
}

fn admin(top: &Section<'_>, report: &mut Report) -> (std::net::SocketAddr, bool) {
    let admin = top.get("admin").and_then(|c| c.section(&ADMIN_KEYS, report));
    let Some(admin) = admin else {
        return (defaults::ADMIN_LISTEN, false);
    };
    let listen = admin.get("listen").and_then(|c| daemon::socket_addr(&c, report));
    let listen = listen.unwrap_or(defaults::ADMIN_LISTEN);
    let push = admin.flag("push", false, report);
    if push && !listen.ip().is_loopback() {
        let text = format!("needs a loopback address in listen, not {}", listen.ip());
        report.complain(&admin.place().key("push"), text);
    }
    (listen, push)
}

/// `instance_id`, unless the command line has another. Empty when there is none: complaints say why.
pub(super) fn instance_id(top: &Section<'_>, given: Option<&str>, report: &mut Report) -> String {
    if let Some(id) = given.filter(|id| !id.is_empty()) {
        if !is_instance_id(id) {
            let place = top.place().key("instance_id");
            report.complain(&place, format!("{id:?} of -i {NOT_AN_ID}"));
        }
        return id.to_owned();
    }
    let Some(cursor) = top.get("instance_id") else {
        let place = top.place().key("instance_id");
        report.complain(&place, "is required (or -i ID)");
        return String::new();
    };
    if cursor.value().is_number() {
        let text = format!("{0} is registered as the text \"{0}\"; quote it", cursor.value());
        report.warn(cursor.place(), text);
    }
    let Some(id) = cursor.word(report) else {
        return String::new();
    };
    if !is_instance_id(&id) {
        let text = format!("{} {NOT_AN_ID}", show(cursor.value()));
        report.complain(cursor.place(), text);
    }
    id
}

const NOT_AN_ID: &str = "cannot be part of a node's name (no \"/\", no control characters)";

fn is_instance_id(id: &str) -> bool {
    !id.trim().is_empty() && id.chars().all(is_node_char)
}
