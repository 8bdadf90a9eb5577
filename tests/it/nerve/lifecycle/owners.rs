//! Who has which node: services of one path, twins, names that change hands.

use std::time::Duration;

use serde_json::{Value, json};
use zookeeper_client::Client;

use super::up;
use crate::support::lab::Lab;
use crate::support::nerve::{INSTANCE, Nerve, Seen, nodes, until_nodes};
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

const P: &str = "/nerve/services/p";
const Q: &str = "/nerve/services/q";
const PATIENCE: Duration = Duration::from_secs(10);

/// A service below `path` on `port`.
fn at(zk: &Zk, path: &str, port: u16, more: Value) -> Value {
    let mut keys = more;
    keys["zk_path"] = json!(path);
    keys["port"] = json!(port);
    up(zk, keys)
}

/// Waits until nodes below [`P`] say these ports and weights, one each, and no others stand there.
async fn until_said(client: &Client, wanted: &[(u16, u16)]) -> Vec<Seen> {
    let text = |(port, weight): &(u16, u16)| {
        format!("\"port\":{port},\"name\":\"{INSTANCE}\",\"weight\":{weight}}}")
    };
    let mut wanted: Vec<_> = wanted.iter().map(text).collect();
    wanted.sort();
    eventually(&format!("{wanted:?}"), PATIENCE, || async {
        let seen = nodes(client, P).await;
        let said = seen.iter().map(|node| node.data.replace("{\"host\":\"10.0.0.1\",", ""));
        let mut said: Vec<_> = said.collect();
        said.sort();
        if said == wanted { Ok(seen) } else { Err(seen) }
    })
    .await
}

#[tokio::test]
async fn one_path_of_two_ensembles_is_two_places() {
    for kind in ["ephemeral", "persistent_sequential"] {
        let lab = Lab::new().await;
        let (one, two) = (Zk::standalone(), Zk::standalone());
        let clients = [one.client().await, two.client().await];
        let keys = || json!({"node_type": kind});
        let config =
            json!({"services": {"a": at(&one, P, 80, keys()), "b": at(&two, P, 80, keys())}});
        let mut nerve = Nerve::start(&lab, config).await;
        nerve.until_settled(&[]).await;
        let mut before = Vec::new();
        for client in &clients {
            before.push(until_nodes(client, P, 1).await);
        }
        nerve.kill9().await;
        let nerve = nerve.again().until_listening().await;
        nerve.until_settled(&[]).await;
        for (client, before) in clients.iter().zip(before) {
            assert_eq!(nodes(client, P).await, before, "{kind}");
        }
        assert_eq!(nerve.stop().await.code(), Some(0));
        for client in &clients {
            assert!(nodes(client, P).await.is_empty(), "{kind}");
        }
    }
}

#[tokio::test]
async fn services_that_swap_their_names_keep_their_nodes() {
    for kind in ["ephemeral_sequential", "persistent_sequential", "ephemeral"] {
        let lab = Lab::new().await;
        let zk = Zk::standalone();
        let client = zk.client().await;
        let (a, b) = (
            at(&zk, P, 80, json!({"node_type": kind})),
            at(&zk, Q, 81, json!({"node_type": kind})),
        );
        let nerve = Nerve::start(&lab, json!({"services": {"a": a, "b": b}})).await;
        let before = (until_nodes(&client, P, 1).await, until_nodes(&client, Q, 1).await);
        for services in [json!({"a": b, "b": a}), json!({"c": b, "a": a}), json!({"a": b, "c": a})]
        {
            nerve.rewrite(json!({"services": services}));
            assert!(nerve.reload().await, "{}", nerve.log());
            nerve.until_settled(&[]).await;
            let now = (nodes(&client, P).await, nodes(&client, Q).await);
            assert_eq!(now, before, "{kind}");
        }
        // The name of one that goes.
        nerve.rewrite(json!({"services": {"c": b}}));
        assert!(nerve.reload().await, "{}", nerve.log());
        until_nodes(&client, P, 0).await;
        assert_eq!(nodes(&client, Q).await, before.1, "{kind}");
        assert_eq!(nerve.stop().await.code(), Some(0));
        assert!(nodes(&client, Q).await.is_empty(), "{kind}");
    }
}

/// The former node goes, the new one is known: to the next reload and to the next process.
#[tokio::test]
async fn a_service_on_another_port_is_one_node_whatever_comes_next() {
    for (kind, is_encoded) in
        [("persistent_sequential", false), ("persistent_sequential", true), ("ephemeral", true)]
    {
        let lab = Lab::new().await;
        let zk = Zk::standalone();
        let client = zk.client().await;
        let config = |port: u16, weight: u16| {
            let keys =
                json!({"node_type": kind, "use_path_encoding": is_encoded, "weight": weight});
            json!({"services": {"web": at(&zk, P, port, keys)}})
        };
        let mut nerve = Nerve::start(&lab, config(80, 1)).await;
        until_said(&client, &[(80, 1)]).await;
        for (port, weight) in [(81, 1), (81, 2), (82, 2)] {
            nerve.rewrite(config(port, weight));
            assert!(nerve.reload().await, "{}", nerve.log());
            let stands = until_said(&client, &[(port, weight)]).await;
            nerve.kill9().await;
            nerve = nerve.again().until_listening().await;
            nerve.until_settled(&[]).await;
            assert_eq!(nodes(&client, P).await, stands, "{kind}");
        }
        assert_eq!(nerve.stop().await.code(), Some(0));
        assert!(nodes(&client, P).await.is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn a_twin_that_is_down_shields_no_node_and_one_that_comes_gets_its_own() {
    for kind in ["ephemeral_sequential", "persistent_sequential"] {
        let lab = Lab::new().await;
        let zk = Zk::standalone();
        let client = zk.client().await;
        let service =
            |port: u16, weight: u16| at(&zk, P, port, json!({"node_type": kind, "weight": weight}));
        let services = |a: Value, b: Value| json!({"services": {"a": a, "b": b}});
        let nerve = Nerve::start(&lab, services(service(80, 1), service(80, 1))).await;
        until_nodes(&client, P, 2).await;
        assert_eq!(nerve.tell(&["down", "b"]).await.code, Some(0));
        until_nodes(&client, P, 1).await;
        for weight in 2..5 {
            nerve.rewrite(services(service(80, weight), service(80, 1)));
            assert!(nerve.reload().await, "{}", nerve.log());
            until_said(&client, &[(80, weight)]).await;
        }
        assert_eq!(nerve.tell(&["up", "b"]).await.code, Some(0));
        until_said(&client, &[(80, 4), (80, 1)]).await;
        // Not twins any more, and again.
        nerve.rewrite(services(service(81, 1), service(80, 1)));
        assert!(nerve.reload().await, "{}", nerve.log());
        let kept = until_said(&client, &[(80, 1), (81, 1)]).await;
        nerve.rewrite(services(service(81, 1), service(81, 1)));
        assert!(nerve.reload().await, "{}", nerve.log());
        let seen = until_said(&client, &[(81, 1), (81, 1)]).await;
        let its_own = kept.iter().find(|node| node.data.contains("\"port\":81,"));
        assert!(seen.contains(its_own.expect("it stands")), "{kind}: {seen:?}");
        assert_eq!(nerve.stop().await.code(), Some(0));
        assert!(nodes(&client, P).await.is_empty(), "{kind}");
    }
}

/// It was asked for, and the answer finds another reporter in its place.
#[tokio::test]
async fn a_node_that_is_just_being_made_is_not_lost_on_another_kind() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let other = || at(&zk, Q, 90, json!({}));
    let with = |kind: &str| json!({"services": {"other": other(), "web": at(&zk, P, 80, json!({"node_type": kind}))}});
    let nerve = Nerve::start(&lab, json!({"services": {"other": other()}})).await;
    until_nodes(&client, Q, 1).await;
    for round in 0..20 {
        let kind = if round % 2 == 0 { "ephemeral" } else { "persistent" };
        for config in [with("persistent_sequential"), with(kind)] {
            nerve.rewrite(config);
            assert!(nerve.reload().await, "{}", nerve.log());
        }
        nerve.until_settled(&[]).await;
        let seen = until_nodes(&client, P, 1).await;
        assert_eq!(seen[0].owner == 0, kind == "persistent", "{seen:?}");
        nerve.rewrite(json!({"services": {"other": other()}}));
        assert!(nerve.reload().await, "{}", nerve.log());
        until_nodes(&client, P, 0).await;
    }
}

/// The second change comes while the first is being carried out: what the first one found is the second one's to end.
#[tokio::test]
async fn a_registration_that_changes_twice_at_once_leaves_no_node_behind() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let with = |kind: &str, port: u16| json!({"services": {"web": at(&zk, P, port, json!({"node_type": kind, "weight": 1}))}});
    let nerve = Nerve::start(&lab, with("ephemeral_sequential", 80)).await;
    for port in 81..=90 {
        until_said(&client, &[(port - 1, 1)]).await;
        for (kind, port) in
            [("ephemeral", port - 1), ("ephemeral", port), ("ephemeral_sequential", port)]
        {
            nerve.rewrite(with(kind, port));
            assert!(nerve.reload().await, "{}", nerve.log());
        }
        nerve.until_settled(&[]).await;
    }
    until_said(&client, &[(90, 1)]).await;
}

#[tokio::test]
async fn twins_with_fixed_names_may_swap_what_they_say() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let keys = |weight: u16| json!({"node_type": "persistent", "use_path_encoding": true, "weight": weight});
    let with = |a: u16, b: u16| json!({"services": {"a": at(&zk, P, 80, keys(a)), "b": at(&zk, P, 80, keys(b))}});
    let nerve = Nerve::start(&lab, with(1, 2)).await;
    let before = until_said(&client, &[(80, 1), (80, 2)]).await;
    nerve.rewrite(with(2, 1));
    assert!(nerve.reload().await, "{}", nerve.log());
    nerve.until_settled(&[]).await;
    assert_eq!(nodes(&client, P).await, before);
    assert_eq!(nerve.stop().await.code(), Some(0));
    assert!(nodes(&client, P).await.is_empty());
}
