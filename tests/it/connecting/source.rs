//! `source`: from where connections and checks come.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;

use super::Recorder;
use crate::support::client::Conn;
use crate::support::lab::Lab;
use crate::support::oracle::Oracle;
use crate::support::synapse::{config, fixed};

/// Another address of the same loopback.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 3, 2, 1));

fn sources(recorder: &Recorder) -> BTreeSet<IpAddr> {
    recorder.heard().iter().filter_map(|said| said.from).map(|from| from.ip()).collect()
}

#[tokio::test]
async fn traffic_and_checks_leave_from_the_source() {
    let lab = Lab::new().await;
    for (lines, words) in [
        (&[][..], "source 127.3.2.1 check inter 100ms"),
        (&["source 127.3.2.1"][..], "check inter 100ms"),
        // The server's own word is stronger.
        (&["source 127.9.9.9"][..], "source 127.3.2.1 check inter 100ms"),
    ] {
        let lines: Vec<&str> = ["option httpchk GET /check"].iter().chain(lines).copied().collect();
        let (ours, theirs) = (lab.free_addr(), lab.free_addr());
        let recorders = [Recorder::tcp(ours).await, Recorder::tcp(theirs).await];
        let haproxy = Oracle::start(&lab, "http", &lines, &[("s", theirs, words)]).await;
        let front = lab.free_addr();
        let service = fixed(front, "http", &lines, &[("s", ours, words)]);
        let _synapse = lab.synapse(config(json!({"it": service}))).await;
        for (to, recorder) in [front, haproxy.addr].into_iter().zip(&recorders) {
            let mut conn = Conn::open(to).await.expect("connect");
            conn.get("/traffic").await.expect("an answer");
            for what in ["/traffic", "/check"] {
                recorder.until(what, |said| said.text().contains(what)).await;
            }
            assert_eq!(sources(recorder), BTreeSet::from([ELSEWHERE]), "{to}: {lines:?} {words}");
        }
    }
}

#[tokio::test]
async fn a_range_of_ports_is_used_and_not_exceeded() {
    let lab = Lab::new().await;
    let server = lab.free_addr();
    let recorder = Recorder::tcp(server).await;
    let front = lab.free_addr();
    // Of the lab: nobody else has its ports.
    let words = format!("source {}:31000-31002", lab.ip());
    let service = fixed(front, "tcp", &["retries 0"], &[("s", server, &words)]);
    let _synapse = lab.synapse(config(json!({"it": service}))).await;
    let mut open = Vec::new();
    for n in 0..3 {
        let mut conn = Conn::open(front).await.expect("connect");
        conn.get("/").await.unwrap_or_else(|error| panic!("session {n}: {error}"));
        open.push(conn);
    }
    let mut one_more = Conn::open(front).await.expect("connect");
    assert!(one_more.get("/").await.is_err(), "a fourth session over three ports");
    let ports: BTreeSet<u16> =
        recorder.heard().iter().filter_map(|said| said.from).map(|from| from.port()).collect();
    assert_eq!(ports, BTreeSet::from([31_000, 31_001, 31_002]));
}

#[tokio::test]
async fn a_source_of_the_other_family_is_a_mistake_of_the_configuration() {
    let lab = Lab::new().await;
    let server = SocketAddr::new(lab.ip(), 80);
    let service = fixed(lab.free_addr(), "tcp", &[], &[("s", server, "source ::1")]);
    let file = lab.write("wrong.json", &config(json!({"it": service})).to_string());
    let said = crate::support::synapse::run(
        "synapse",
        &["check", "-c", file.to_str().expect("text")],
        &[],
    )
    .await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("one is IPv4, one IPv6")
            || said.stderr.contains("one is IPv4, one IPv6"),
        "{said:?}"
    );
}
