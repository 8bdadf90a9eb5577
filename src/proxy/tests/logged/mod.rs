//! What is said to the access log about each way that a request or session can end.

mod blame;
mod passing;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::rig::{Client, Origin, Rig, Setup, until};
use crate::proxy::Mode;
use crate::telemetry::access::{AccessLog, Format, Place, Record};

/// Lines of all rigs of this process, each with its log's name.
static SEEN: Mutex<Vec<(Arc<str>, String)>> = Mutex::new(Vec::new());

/// Told of each record.
pub(crate) fn saw(log: &AccessLog, record: &Record<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let timer = |t: Option<u32>| t.map_or_else(|| "-".to_owned(), |t| (t / 100).to_string());
    let t = record.timers;
    let mut line = format!(
        "{} {}/{}/{}/{}/{} {}{} +{}{}",
        record.server.map_or("none", |_| "test"),
        timer(t.request),
        timer(t.queue),
        timer(t.connect),
        timer(t.response),
        t.total / 100,
        char::from(record.cause.letter()),
        char::from(record.stage.letter()),
        record.retries,
        if record.redispatched { "r" } else { "" },
    );
    if record.queued != (0, 0) {
        line += &format!(" q{}/{}", record.queued.0, record.queued.1);
    }
    match &record.http {
        None => line += &format!(" {}>{}", record.bytes_in, record.bytes_out),
        Some(http) => {
            let captures = |values: &[Option<&[u8]>]| -> String {
                let value = |v: &Option<&[u8]>| format!("|{}", v.map(text).unwrap_or_default());
                values.iter().map(value).collect()
            };
            line += &format!(
                " {} {}{}{}",
                http.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
                http.line.map_or_else(|| "bad".to_owned(), text),
                captures(http.request_captures),
                captures(http.response_captures),
            );
        }
    }
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(&log.frontend), line));
}

/// A rig that logs.
pub(super) struct Logged {
    pub(super) rig: Rig,
    name: String,
}

impl Logged {
    pub(super) async fn new(setup: Setup) -> Self {
        Self::with(setup, |_| {}).await
    }

    async fn with(mut setup: Setup, change: impl FnOnce(&mut AccessLog)) -> Self {
        let name = format!("log of {}", std::thread::current().name().unwrap_or_default());
        let mut log = AccessLog::plain(&name, Format::Http, Place::File("/dev/null".into()));
        change(&mut log);
        setup.settings.access_log = Some(Arc::new(log));
        Self { rig: setup.start().await, name }
    }

    pub(super) fn seen(&self) -> Vec<String> {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seen.iter().filter(|(name, _)| **name == *self.name);
        own.map(|(_, line)| line.clone()).collect()
    }

    /// Exactly these lines.
    pub(super) async fn says(&self, lines: &[&str]) {
        until("as many lines", || self.seen().len() >= lines.len()).await;
        assert_eq!(self.seen(), lines);
    }
}

fn http(origin: &Origin) -> Setup {
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.settings.timeouts.connect = Some(Duration::from_millis(100));
    setup
}

/// An origin that says `answer` to each request and closes.
async fn once(answer: &'static str) -> Origin {
    Origin::start(move |_, mut conn: Client| async move {
        conn.request().await;
        conn.send(answer).await;
    })
    .await
}
