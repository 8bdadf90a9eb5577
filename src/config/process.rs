//! Process-wide keys of the document.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::daemon::{self, Host};
use super::defaults;
use super::haproxy::GlobalSettings;
use super::origins::effective;
use super::reader::{Cursor, Section};
use super::report::Report;
use super::statsd;
use super::template::Env;
use super::text::BareNumber;
use super::{Complaint, EffectiveValue, ProcessSettings};
use crate::discovery::saved::SeedFile;

/// Keys of the top level.
pub const KEYS: [&str; 15] = [
    "services",
    "service_conf_dir",
    "haproxy",
    "proxy",
    "admin",
    "state_dir",
    "workers",
    "give_way",
    "bulk_lull",
    "zk_session_timeout",
    "hard_stop_after",
    "log",
    "statsd",
    "file_output",
    "nginx",
];

/// Keys of `admin`.
pub const ADMIN_KEYS: [&str; 1] = ["listen"];

/// What the process-wide keys say.
#[derive(Clone, Debug)]
pub struct Process {
    /// The settings.
    pub settings: ProcessSettings,
    /// Their origins.
    pub origins: Vec<EffectiveValue>,
    /// About this host rather than about the file; never an error under `--strict`.
    pub notes: Vec<Complaint>,
}

/// Reads the process-wide keys of the document.
pub fn read(top: &Section<'_>, global: &GlobalSettings, env: &Env, report: &mut Report) -> Process {
    generators(top, report);
    let mut origins = Vec::new();
    let mut show = |setting: &str, value: String, cursor: Option<&Cursor<'_>>| {
        origins.push(effective(setting, value, cursor.map(Cursor::place)));
    };
    let admin = top.get("admin").and_then(|c| c.section(&ADMIN_KEYS, report));
    let listen = admin.as_ref().and_then(|section| section.get("listen"));
    let admin_listen = listen
        .as_ref()
        .and_then(|c| daemon::socket_addr(c, report))
        .unwrap_or(defaults::ADMIN_LISTEN);
    show("admin.listen", admin_listen.to_string(), listen.as_ref());

    let workers_key = top.get("workers");
    let workers = workers_key.as_ref().and_then(|c| workers(c, report)).unwrap_or_else(cores);
    show("workers", workers.to_string(), workers_key.as_ref());
    let give_way = top.flag("give_way", defaults::GIVE_WAY, report);
    show("give_way", give_way.to_string(), top.get("give_way").as_ref());
    let lull_key = top.get("bulk_lull");
    let bulk_lull =
        lull_key.as_ref().and_then(|c| daemon::bulk_lull(c, report)).unwrap_or(defaults::BULK_LULL);
    show("bulk_lull", format!("{}us", bulk_lull.as_micros()), lull_key.as_ref());

    let timeout_key = top.get("zk_session_timeout");
    let session_timeout = timeout_key
        .as_ref()
        .and_then(|c| daemon::session_timeout(c, report))
        .unwrap_or(defaults::SESSION_TIMEOUT);
    show("zk_session_timeout", format!("{session_timeout:?}"), timeout_key.as_ref());

    let log_format = daemon::log_format(top, report);
    show("log.format", format!("{log_format:?}").to_lowercase(), top.get("log").as_ref());

    let mut notes = Vec::new();
    let host = Host { env, state_dir: Path::new(defaults::STATE_DIR) };
    let (state_dir, origin) = daemon::state_dir(top, &host, &mut notes, report);
    origins.push(origin);
    let seed = seed_file(top, &mut origins, report);
    let (hard_stop_after, origin) = hard_stop_after(top, global, report);
    origins.push(origin);
    origins.extend(from_global(top, global));
    let statsd_key = top.get("statsd");
    let statsd = statsd_key.as_ref().map(|c| statsd::read(c, &statsd::KEYS, report));
    if let Some(agent) = &statsd {
        let place = statsd_key.as_ref().map(Cursor::place);
        origins.push(effective("statsd", format!("{}:{}", agent.host, agent.port), place));
    }

    let settings = ProcessSettings {
        admin_listen,
        state_dir,
        seed,
        workers,
        give_way,
        bulk_lull,
        session_timeout,
        max_connections: global.max_connections,
        max_pipes: global.max_pipes,
        log_format,
        user: global.user.clone(),
        group: global.group.clone(),
        hard_stop_after,
        statsd,
    };
    Process { settings, origins, notes }
}

/// What `haproxy.global` says about the process; unset values have nothing to show.
fn from_global(top: &Section<'_>, global: &GlobalSettings) -> Vec<EffectiveValue> {
    let place = top.place().key("haproxy").key("global");
    let values = [
        ("max_connections", global.max_connections.map(|max| max.to_string())),
        ("max_pipes", global.max_pipes.map(|max| max.to_string())),
        ("user", global.user.clone()),
        ("group", global.group.clone()),
    ];
    let set = values.into_iter();
    set.filter_map(|(name, value)| Some(effective(name, value?, Some(&place)))).collect()
}

/// Generators of the original that do not exist here: someone reads their output, so it is said.
fn generators(top: &Section<'_>, report: &mut Report) {
    let remarks = [
        ("file_output", "not yet: no service files are written; see /services of admin.listen"),
        ("nginx", "no effect: synapse is the proxy itself, no nginx is configured"),
    ];
    for (key, remark) in remarks {
        let Some(cursor) = top.get(key) else { continue };
        if cursor.value().is_object() {
            report.warn(cursor.place(), remark);
        } else {
            // Complains about the type.
            cursor.entries(report);
        }
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn workers(cursor: &Cursor<'_>, report: &mut Report) -> Option<NonZeroUsize> {
    let count = cursor.integer(1..=defaults::WORKERS_MAX, "a number of workers", report)?;
    usize::try_from(count).ok().and_then(NonZeroUsize::new)
}

/// The native key, else haproxy's, else the default.
fn hard_stop_after(
    top: &Section<'_>,
    global: &GlobalSettings,
    report: &mut Report,
) -> (Duration, EffectiveValue) {
    let key = top.get("hard_stop_after");
    let own = key.as_ref().and_then(|c| c.duration(BareNumber::Seconds, report));
    let place = match (&key, global.hard_stop_after) {
        (Some(cursor), _) => Some(cursor.place().clone()),
        (None, Some(_)) => Some(top.place().key("haproxy").key("global")),
        (None, None) => None,
    };
    let time = own.or(global.hard_stop_after).unwrap_or(defaults::HARD_STOP_AFTER);
    let origin = effective("hard_stop_after", format!("{time:?}"), place.as_ref());
    (time, origin)
}

/// What the original left behind.
fn seed_file(
    top: &Section<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> Option<SeedFile> {
    let haproxy = top.get("haproxy")?;
    let ttl_key = haproxy.peek("state_file_ttl");
    let ttl = ttl_key
        .as_ref()
        .and_then(|c| c.duration(BareNumber::Seconds, report))
        .unwrap_or(defaults::STATE_FILE_TTL);
    let path_key = haproxy.peek("state_file_path")?;
    let path = path_key.word(report)?;
    origins.push(effective("state_file_path", &path, Some(path_key.place())));
    origins.push(effective(
        "state_file_ttl",
        format!("{ttl:?}"),
        ttl_key.as_ref().map(Cursor::place),
    ));
    Some(SeedFile { path: PathBuf::from(path), ttl })
}
