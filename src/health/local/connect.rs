//! From a name to a connection: resolved at each attempt, all addresses tried.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{ProbeResult, Target};
use crate::health::tcp::{Connect, TcpProbe, connect_error, failure};
use crate::health::{Probe, ProbeError, SOCKET_ERROR};

/// Look-ups under way at once in the whole process. A resolver that hangs holds a thread for each one, for longer than
/// the check waits; without a bound they would fill the runtime's 512 and keep files from being written.
const MAX_LOOKUPS: usize = 16;

static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// The `tcp` check: passes when a connection is accepted.
pub(super) async fn probe(target: &Target, deadline: Instant) -> ProbeResult {
    first(target, deadline, async |addr, bound| {
        TcpProbe::new(Connect::within(bound)).probe(addr.into()).await
    })
    .await
}

/// A connection by `deadline`; it is reset, not closed, when it is dropped.
pub(super) async fn connect(target: &Target, deadline: Instant) -> Result<TcpStream, ProbeError> {
    first(target, deadline, crate::health::tcp::connect).await
}

/// The first of the target's addresses with which `attempt` works. Each gets an equal part of the time that is left, so
/// that one which swallows packets leaves some to the others.
async fn first<T>(
    target: &Target,
    deadline: Instant,
    attempt: impl AsyncFn(SocketAddr, Duration) -> Result<T, ProbeError>,
) -> Result<T, ProbeError> {
    first_of(&resolve(target, deadline).await?, deadline, attempt).await
}

async fn first_of<T>(
    addrs: &[SocketAddr],
    deadline: Instant,
    attempt: impl AsyncFn(SocketAddr, Duration) -> Result<T, ProbeError>,
) -> Result<T, ProbeError> {
    let mut trouble = failure("L4CON", "the name has no address".to_owned());
    let mut is_first = true;
    for (tried, addr) in addrs.iter().enumerate() {
        let others = u32::try_from(addrs.len() - tried).unwrap_or(u32::MAX);
        let left = deadline.saturating_duration_since(Instant::now());
        match attempt(*addr, left / others).await {
            Ok(done) => return Ok(done),
            // An address family that we lack is no word about the service when another address gives one.
            Err(error) if is_first || error.code != SOCKET_ERROR => trouble = error,
            Err(_) => {}
        }
        is_first = false;
    }
    Err(trouble)
}

async fn resolve(target: &Target, deadline: Instant) -> Result<Vec<SocketAddr>, ProbeError> {
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    match timeout_at(deadline, look_up(&target.host, target.port)).await {
        Ok(Ok(addrs)) => Ok(addrs),
        Ok(Err(error)) => {
            // Without descriptors the resolver cannot read its files and says that the name is unknown.
            let ours = TcpSocket::new_v4().err();
            let said = connect_error(ours.as_ref().unwrap_or(&error));
            Err(failure(said.code, format!("{:?}: {}", target.host, said.detail)))
        }
        Err(_) => Err(failure("L4TOUT", format!("{:?} not resolved in time", target.host))),
    }
}

/// The permit goes with the look-up: it is given back when the resolver returns, not when we stop waiting for it.
async fn look_up(host: &Arc<str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    // Never closed; were it, an unbounded look-up is better than none.
    let permit = LOOKUPS.acquire().await.ok();
    let host = Arc::clone(host);
    let looking = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        (&*host, port).to_socket_addrs().map(Iterator::collect)
    });
    looking.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::local::LocalProbe;
    use crate::health::local::testing::{Behaviour, closed, free, probe_now, scripted, soon};

    #[tokio::test]
    async fn both_families_are_checked() {
        for ip in ["127.0.0.1", "::1", "[::1]"] {
            let listener =
                tokio::net::TcpListener::bind((ip.trim_matches(['[', ']']), 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let pass = probe(&Target { host: ip.into(), port }, soon()).await.unwrap();
            assert_eq!(pass.code, "L4OK");
        }
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_tried() {
        // `localhost` has ::1 as well where /etc/hosts says so; somebody listens on one of them only.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Target { host: "localhost".into(), port };
        assert_eq!(probe(&target, soon()).await.unwrap().code, "L4OK");
    }

    /// What becomes of addresses that end in such a way, by their ports.
    async fn tried(outcomes: [Result<(), &'static str>; 2]) -> (Result<u16, String>, Duration) {
        let addrs = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let start = Instant::now();
        let result = first_of(&addrs, start + Duration::from_secs(1), async |addr, bound| {
            match outcomes[usize::from(addr.port()) - 1] {
                Ok(()) => Ok(addr.port()),
                Err("hang") => {
                    tokio::time::sleep(bound).await;
                    Err(failure("L4TOUT", String::new()))
                }
                Err(code) => Err(failure(code, String::new())),
            }
        });
        (result.await.map_err(|error| error.code.to_owned()), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_everything_leaves_time_for_the_next() {
        let half = Duration::from_millis(500);
        assert_eq!(tried([Err("hang"), Ok(())]).await, (Ok(2), half));
        let all = tried([Err("hang"), Err("hang")]).await;
        assert_eq!(all, (Err("L4TOUT".to_owned()), 2 * half));
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_we_lack_is_no_excuse_for_the_others() {
        for outcomes in [[Err("L4CON"), Err(SOCKET_ERROR)], [Err(SOCKET_ERROR), Err("L4CON")]] {
            assert_eq!(tried(outcomes).await.0, Err("L4CON".to_owned()));
        }
        let ours = tried([Err(SOCKET_ERROR), Err(SOCKET_ERROR)]).await.0;
        assert_eq!(ours, Err(SOCKET_ERROR.to_owned()));
    }

    #[tokio::test]
    async fn a_closed_port_and_a_name_that_nobody_knows_fail() {
        let refused = probe(&closed().await, soon()).await.unwrap_err();
        assert_eq!(refused.to_string(), "L4CON: connection refused");
        let target = Target { host: "no-such-name.invalid".into(), port: 1 };
        let unknown = probe(&target, soon()).await.unwrap_err();
        assert_eq!(unknown.code, "L4CON");
        assert!(unknown.detail.starts_with("\"no-such-name.invalid\": "), "{unknown}");
    }

    #[tokio::test]
    async fn a_service_that_accepts_passes_whatever_it_says() {
        for behaviour in [Behaviour::Hang, Behaviour::Close, Behaviour::Say(b"garbage")] {
            let target = scripted(behaviour).await;
            assert_eq!(probe_now(LocalProbe::Tcp(target)).await.unwrap().code, "L4OK");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_hangs_costs_the_deadline_only() {
        let all = LOOKUPS.acquire_many(u32::try_from(MAX_LOOKUPS).unwrap()).await.unwrap();
        let target = Target { host: "localhost".into(), port: free() };
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = probe(&target, deadline).await.unwrap_err();
        assert_eq!(error.to_string(), "L4TOUT: \"localhost\" not resolved in time");
        assert_eq!(Instant::now(), deadline);
        drop(all);
    }
}
