//! Messages about the states of servers, in haproxy's words: to the targets of its `log` lines, through the same writer.
//!
//! They come from the control plane, which has one pen for all services: a burst of them shares batches, as the lines of
//! a worker do, and is bounded in the same way. Nothing waits for the writer.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::pen::{Pen, post_in_time};
use super::{Level, Targets};

/// Where the messages about a service's servers go. Part of its settings, replaced with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLog {
    /// Name of the backend, as it stands in messages.
    pub backend: Arc<str>,
    /// Those of the backend's `log` lines; never empty.
    pub targets: Arc<Targets>,
}

/// A server that its checks have taken down or brought up.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Its name.
    pub server: &'a str,
    /// `backup`.
    pub is_backup: bool,
    /// What it is now.
    pub is_up: bool,
    /// haproxy's code for the last check: `L4CON`.
    pub code: &'a str,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// haproxy's `info`; empty: there is none.
    pub info: &'a str,
    /// How long the check took.
    pub took: Duration,
    /// Servers that may be used now: active ones and backups.
    pub usable: (usize, usize),
    /// Requests or sessions in progress at it.
    pub sessions: u32,
    /// Requests that waited for it and may go elsewhere, or waited elsewhere and may come to it.
    pub requeued: u32,
    /// Requests that go on waiting for it.
    pub queued: u32,
}

/// The control plane's pen.
#[derive(Debug, Default)]
struct Desk {
    pen: Pen,
    is_closed: bool,
}

static DESK: LazyLock<Mutex<Desk>> = LazyLock::new(Mutex::default);

fn desk() -> MutexGuard<'static, Desk> {
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateLog {
    /// `Server web/a is DOWN, …` as an alert, `Server web/a is UP, …` as a notice.
    pub fn turned(&self, turn: &Turn<'_>) {
        let level = if turn.is_up { Level::NOTICE } else { Level::ALERT };
        self.write(level, || text(&self.backend, turn));
    }

    /// `backend web has no server available!`, an emergency.
    pub fn nobody_left(&self) {
        self.write(Level::EMERG, || format!("backend {} has no server available!", self.backend));
    }

    fn write(&self, level: Level, text: impl FnOnce() -> String) {
        if !self.targets.take(level) {
            return;
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let mut desk = desk();
        if !desk.is_closed {
            desk.pen.write_text(&self.targets, (level, at), &text());
        }
    }
}

/// Hands messages to the writer, a moment after they were written. Never returns.
pub async fn post_states_in_time() {
    post_in_time(|with| with(&mut desk().pen)).await;
}

/// No messages from now on: the process drains. haproxy does not check then, and after a hand-over the new process tells
/// the same.
pub fn close_states() {
    desk().is_closed = true;
}

/// Hands over what has been written so far.
pub(super) fn post() {
    desk().pen.post();
}

fn text(backend: &str, turn: &Turn<'_>) -> String {
    let (kind, server) = (if turn.is_backup { "Backup " } else { "" }, turn.server);
    let (state, left) = if turn.is_up { ("UP", "online") } else { ("DOWN", "left") };
    let reason = reason(turn.code);
    let code = turn.status.map(|status| format!(", code: {status}")).unwrap_or_default();
    let info = match turn.info {
        "" => String::new(),
        info => format!(", info: \"{}\"", printable(info)),
    };
    let (took, (active, backup)) = (turn.took.as_millis(), turn.usable);
    let on_backup = if active == 0 && backup > 0 { " Running on backup." } else { "" };
    let (sessions, requeued, queued) = (turn.sessions, turn.requeued, turn.queued);
    let waiting = if turn.is_up {
        format!("{requeued} sessions requeued, {queued} total in queue")
    } else {
        format!("{sessions} sessions active, {requeued} requeued, {queued} remaining in queue")
    };
    format!(
        "{kind}Server {backend}/{server} is {state}, reason: {reason}{code}{info}, check duration: {took}ms. \
         {active} active and {backup} backup servers {left}.{on_backup} {waiting}."
    )
}

/// haproxy's words for its codes.
fn reason(code: &str) -> &str {
    match code {
        "SOCKERR" => "Socket error",
        "L4OK" => "Layer4 check passed",
        "L4TOUT" => "Layer4 timeout",
        "L4CON" => "Layer4 connection problem",
        "L7OK" => "Layer7 check passed",
        "L7TOUT" => "Layer7 timeout",
        "L7RSP" => "Layer7 invalid response",
        "L7STS" => "Layer7 wrong status",
        "PROCERR" => "External check error",
        other => other,
    }
}

/// What a server has said, as haproxy writes it here: `<XX>` for a quote and for what is not printable.
fn printable(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'"' => "<22>".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("<{other:02X}>"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Target};
    use super::*;

    const DOWN: Turn<'_> = Turn {
        server: "s1",
        is_backup: false,
        is_up: false,
        code: "L4CON",
        status: None,
        info: "Connection refused",
        took: Duration::ZERO,
        usable: (1, 1),
        sessions: 3,
        requeued: 2,
        queued: 0,
    };

    /// Taken from haproxy 2.6.
    #[test]
    fn messages_are_haproxys() {
        let up = Turn { is_up: true, code: "L7OK", status: Some(200), info: "", ..DOWN };
        let status = Turn { code: "L7STS", status: Some(503), info: "a \"b\" #c\u{1} é", ..DOWN };
        let took = Duration::from_micros(302_900);
        for (turn, expected) in [
            (
                DOWN,
                "Server web/s1 is DOWN, reason: Layer4 connection problem, info: \"Connection refused\", check duration: 0ms. 1 active and 1 backup servers left. 3 sessions active, 2 requeued, 0 remaining in queue.",
            ),
            (
                Turn { is_backup: true, usable: (0, 0), ..status },
                "Backup Server web/s1 is DOWN, reason: Layer7 wrong status, code: 503, info: \"a <22>b<22> #c<01> <C3><A9>\", check duration: 0ms. 0 active and 0 backup servers left. 3 sessions active, 2 requeued, 0 remaining in queue.",
            ),
            (
                Turn { code: "L7TOUT", info: "", took, usable: (0, 1), ..DOWN },
                "Server web/s1 is DOWN, reason: Layer7 timeout, check duration: 302ms. 0 active and 1 backup servers left. Running on backup. 3 sessions active, 2 requeued, 0 remaining in queue.",
            ),
            (
                Turn { queued: 4, ..up },
                "Server web/s1 is UP, reason: Layer7 check passed, code: 200, check duration: 0ms. 1 active and 1 backup servers online. 2 sessions requeued, 4 total in queue.",
            ),
        ] {
            assert_eq!(text("web", &turn), expected);
        }
    }

    #[tokio::test]
    async fn each_target_gets_what_its_level_lets_through() {
        let dir = std::env::temp_dir().join(format!("access-states-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = ["all", "notice", "alert", "emerg"].map(|name| dir.join(name));
        let levels = [Level::DEBUG, Level::NOTICE, Level::ALERT, Level::EMERG];
        let targets = files.iter().zip(levels).map(|(file, max_level)| Target {
            max_level,
            framing: super::super::Framing::Short,
            min_level: if max_level == Level::DEBUG { Level::ERR } else { Level::EMERG },
            ..Target::raw(Place::File(file.clone()))
        });
        let targets = Targets::shared(targets.collect());
        let log = StateLog { backend: "web".into(), targets };
        log.turned(&DOWN);
        log.nobody_left();
        log.turned(&Turn { is_up: true, ..DOWN });
        super::super::finish(Duration::from_secs(10)).await;
        let heads = files.map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.lines().map(|line| line.get(..8).unwrap().to_owned()).collect::<Vec<_>>()
        });
        assert_eq!(heads[0], ["<3>Serve", "<3>backe", "<5>Serve"]);
        assert_eq!(heads[1], ["<1>Serve", "<0>backe", "<5>Serve"]);
        assert_eq!((&heads[2][..], &heads[3][..]), (&heads[1][..2], &heads[1][1..2]));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
