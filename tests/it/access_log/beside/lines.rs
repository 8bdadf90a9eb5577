//! Lines as they come, and what differs between two of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{Scenario, TOLERANCE};
use crate::support::lab::Lab;

/// After the last client has gone, until the last line must have come.
const SETTLED: Duration = Duration::from_secs(3);

/// The fields of a line, by name.
pub(super) type Fields = BTreeMap<&'static str, String>;

/// Splits `fe be/srv TR/Tw/Tc/Tr/Ta …`, what stands behind the time.
pub(super) fn fields(line: &str, http: bool) -> Fields {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let mut fields = Fields::new();
    fields.insert("frontend", word().to_owned());
    let server = word();
    fields.insert("backend", server.split('/').next().unwrap_or_default().to_owned());
    let server = server.split('/').nth(1).unwrap_or_default();
    // Ours has the address behind the name, as Synapse writes it.
    fields.insert("server", server.split('_').next().unwrap_or_default().to_owned());
    let names: &[&str] = match http {
        true => &["request", "queue", "connect", "response", "total"],
        false => &["queue", "connect", "total"],
    };
    for (name, value) in names.iter().zip(word().split('/')) {
        fields.insert(name, value.to_owned());
    }
    if http {
        fields.insert("status", word().to_owned());
    }
    fields.insert("bytes", word().to_owned());
    if http {
        fields.insert("cookies", format!("{} {}", word(), word()));
    }
    fields.insert("state", word().to_owned());
    let names = ["process", "conns", "backend conns", "server conns", "retries"];
    for (name, value) in names.iter().zip(word().split('/')) {
        fields.insert(name, value.to_owned());
    }
    fields.insert("queued", word().to_owned());
    fields.insert("rest", words.collect::<Vec<_>>().join(" "));
    fields
}

/// Fields that are not equal though nothing is wrong: other scenarios run beside, and bytes are counted differently.
const UNCOMPARED: [&str; 2] = ["process", "bytes"];

const TIMES: [&str; 5] = ["request", "queue", "connect", "response", "total"];

fn is_same(name: &str, ours: &str, theirs: &str) -> bool {
    match (ours.parse::<i64>(), theirs.parse::<i64>()) {
        (Ok(ours), Ok(theirs)) if TIMES.contains(&name) => {
            (ours < 0) == (theirs < 0) && (ours - theirs).abs() <= TOLERANCE
        }
        _ => ours == theirs,
    }
}

/// What differs between two lines beyond what is allowed.
pub(super) fn differences(scenario: &Scenario, ours: &Fields, theirs: &Fields) -> Vec<String> {
    let mut found = Vec::new();
    for (name, mine) in ours {
        let other = &theirs[name];
        let known = scenario.differs.iter().find(|(field, ..)| field == name);
        let ok = match known {
            Some((_, us, them)) => is_same(name, mine, us) && is_same(name, other, them),
            None => UNCOMPARED.contains(name) || is_same(name, mine, other),
        };
        if !ok {
            found.push(format!("{}: {name} is {mine}, haproxy's {other}", scenario.name));
        }
    }
    found
}

/// Receives lines; by frontend.
pub(super) struct Receiver {
    pub(super) addr: SocketAddr,
    socket: UdpSocket,
}

impl Receiver {
    pub(super) async fn new(lab: &Lab) -> Self {
        let addr = lab.free_addr();
        Self { addr, socket: UdpSocket::bind(addr).await.expect("bind") }
    }

    /// What came, once nothing has for a while.
    pub(super) async fn lines(&self) -> BTreeMap<String, Vec<String>> {
        let mut lines = BTreeMap::<String, Vec<String>>::new();
        let mut datagram = vec![0; 1 << 16];
        while let Ok(Ok(n)) = timeout(SETTLED, self.socket.recv(&mut datagram)).await {
            let text = String::from_utf8_lossy(&datagram[..n]).trim_end().to_owned();
            // `<134>Nov 25 21:00:00 synapse[1]: 127.0.0.1:4711 [25/Nov/2026:21:00:00.123] `
            let Some((_, line)) = text.split_once("] ") else {
                continue;
            };
            let frontend = line.split(' ').next().unwrap_or_default().to_owned();
            lines.entry(frontend).or_default().push(line.to_owned());
        }
        lines
    }
}
