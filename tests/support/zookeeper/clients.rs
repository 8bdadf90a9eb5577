//! The clients of a server as it sees them: the four-letter words `cons` and `dump`.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use zookeeper_client::Client;

use super::Zk;
use super::member::{Member, pause};

/// How long a server on a loaded machine may take to say it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    /// `0x…`, as `zookeeper-client` shows it.
    pub(crate) session: String,
    /// Since when the connection stands, in ms since 1970: another one begins to count anew.
    pub(crate) since: u64,
    /// The number of its last request. Pings have none.
    pub(crate) requests: u64,
    /// All that was received, pings included.
    pub(crate) packets: u64,
}

impl Member {
    /// Every connection that has a session.
    ///
    /// Panics when the server does not answer.
    pub(crate) fn clients(&self) -> Vec<Connected> {
        let end = Instant::now() + PATIENCE;
        let all = loop {
            if let Some(all) = self.four_letters("cons") {
                break all;
            }
            assert!(Instant::now() < end, "{} does not answer", self.addr());
            pause(Duration::from_millis(20));
        };
        all.lines().filter_map(connected).collect()
    }

    /// Whether the server knows this session (`0x…`), connected or not: the four-letter word `dump`. Only a server that
    /// leads, or is alone, knows them all. An error when it does not answer.
    pub(crate) fn has_session(&self, session: &str) -> Result<bool, String> {
        let all = self.four_letters("dump").ok_or("no answer")?;
        Ok(all.split_whitespace().any(|word| word.trim_end_matches(':') == session))
    }
}

impl Zk {
    /// Whether a member that runs has a connection of this session (`0x…`).
    pub(crate) fn is_used_by(&self, session: &str) -> bool {
        let mut running = self.members.iter().filter(|member| member.pid().is_some());
        running.any(|member| member.clients().iter().any(|client| client.session == session))
    }

    /// Waits until a session of this timeout is over that nobody has used since this call. Then each one is over that is
    /// not longer and was last used before: whatever was still to expire has expired.
    pub(crate) async fn outlast_a_session(&self, session: Duration) {
        let connector = Client::connector().with_session_timeout(session).with_detached();
        let unused = connector.connect(&self.connect_string()).await.expect("a session");
        let id = unused.session_id().to_string();
        drop(unused);
        let end = Instant::now() + session + PATIENCE;
        loop {
            let leader = self.members.iter().find(|member| member.leads());
            match leader.map(|leader| leader.has_session(&id)) {
                Some(Ok(false)) => return,
                known => assert!(Instant::now() < end, "session {id}: {known:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// ` /127.0.0.1:56572[1](queued=0,recved=70,sent=70,sid=0x1…,lop=GETD,est=1795691862855,to=4000,lcxid=0x44,…)`; other
/// lines are connections that have no session, the one that asks among them.
fn connected(line: &str) -> Option<Connected> {
    let fields = line.split_once('(')?.1.trim_end_matches(')');
    let value =
        |key: &str| fields.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
    let session = value("sid")?.to_owned();
    let number = |key: &str| value(key)?.parse().ok();
    let last = value("lcxid")?.strip_prefix("0x")?;
    // -1 before the first request.
    let requests = u64::from_str_radix(last, 16).ok()?.cast_signed().max(0).cast_unsigned();
    Some(Connected { session, since: number("est")?, requests, packets: number("recved")? })
}
