//! The promises of `claims`.

use super::*;
use crate::registration::Relation;

/// What is remembered.
#[derive(Debug, Default)]
pub(in crate::registration) struct Notebook(Mutex<BTreeSet<(Spot, String)>>);

impl Notebook {
    pub(in crate::registration) fn read(&self, spot: &Spot) -> BTreeSet<String> {
        let nodes = self.0.lock().unwrap();
        nodes.iter().filter(|(at, _)| at == spot).map(|(_, node)| node.clone()).collect()
    }

    pub(in crate::registration) fn write(
        &self,
        spot: &Spot,
        made: &BTreeSet<String>,
        gone: &BTreeSet<String>,
    ) {
        let mut nodes = self.0.lock().unwrap();
        nodes.extend(made.iter().map(|node| (spot.clone(), node.clone())));
        nodes.retain(|(at, node)| at != spot || !gone.contains(node));
    }

    pub(in crate::registration) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

#[derive(Debug, Default)]
struct Notes {
    claims: Claims,
    nodes: Notebook,
}

impl Kin for Notes {
    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn relation(&self, _session: i64) -> Relation {
        Relation::Foreign
    }

    fn remembered(&self, spot: &Spot) -> BTreeSet<String> {
        self.nodes.read(spot)
    }

    fn remember(&self, spot: &Spot, made: &BTreeSet<String>, gone: &BTreeSet<String>) {
        self.nodes.write(spot, made, gone);
    }

    fn is_of_younger(&self, _ensemble: &str, _node: &str) -> bool {
        false
    }
}

fn spot(service: &str, ensemble: &str) -> Spot {
    let service = ServiceName::new(service);
    Spot { service, ensemble: ensemble.into(), parent: "/p".into() }
}

fn enter(kin: &Arc<dyn Kin>, service: &str, identity: &str) -> Claimant {
    Claimant::enter(Arc::clone(kin), spot(service, "zk1"), identity.to_owned())
}

fn set(nodes: &[&str]) -> BTreeSet<String> {
    nodes.iter().map(|node| (*node).to_owned()).collect()
}

fn home() -> Arc<dyn Kin> {
    Arc::new(Notes::default())
}

#[test]
fn a_node_has_one_reporter_and_a_reporter_one_node() {
    let kin = home();
    let (a, b) = (enter(&kin, "a", "80"), enter(&kin, "b", "81"));
    assert!(a.claim("/p/x") && !b.claim("/p/x"));
    assert!(b.is_anothers("/p/x") && !a.is_anothers("/p/x"));
    assert!(a.claim("/p/y") && b.claim("/p/x"));
    a.release();
    assert!(!b.is_anothers("/p/y"));
    drop(b);
    assert!(!kin.claims().is_claimed("zk1", "/p/x"), "who is gone has nothing");
}

#[test]
fn nodes_of_two_ensembles_are_two_nodes() {
    let kin = home();
    let here = enter(&kin, "a", "80");
    let there = Claimant::enter(Arc::clone(&kin), spot("b", "zk2"), "80".to_owned());
    assert!(here.claim("/p/x") && there.claim("/p/x"));
    assert!(!here.is_anothers("/p/x") && !there.is_anothers("/p/x"));
    there.release();
    assert!(kin.claims().is_claimed("zk1", "/p/x") && !kin.claims().is_claimed("zk2", "/p/x"));
}

#[test]
fn twins_that_may_want_a_node_are_waited_for() {
    let kin = home();
    let (a, b, c) = (enter(&kin, "a", "80"), enter(&kin, "b", "80"), enter(&kin, "c", "81"));
    assert_eq!((a.waiting_twins(), c.waiting_twins()), (1, 0), "undecided");
    b.wants(Wanted::Absent);
    assert_eq!(a.waiting_twins(), 0, "it wants none");
    b.wants(Wanted::Present);
    assert_eq!(a.waiting_twins(), 1);
    assert!(b.claim("/p/x"));
    assert_eq!(a.waiting_twins(), 0);
    b.release();
    drop(b);
    assert_eq!(a.waiting_twins(), 0, "who is gone waits for nothing");
}

#[test]
fn a_changed_service_has_two_reporters_that_know_a_node_each() {
    let kin = home();
    let old = enter(&kin, "web", "80");
    old.know(&set(&["/p/i_1"]));
    let new = enter(&kin, "web", "81");
    assert!(new.known().is_empty(), "it is the other's as long as that runs");
    new.know(&set(&["/p/i_?"]));
    new.know(&set(&["/p/i_2"]));
    old.know(&set(&[]));
    drop(old);
    assert_eq!(kin.remembered(&spot("web", "zk1")), set(&["/p/i_2"]));
    drop(new);
    assert_eq!(enter(&kin, "web", "82").known(), set(&["/p/i_2"]), "remembered");
}

#[test]
fn what_two_reporters_know_is_forgotten_when_both_do() {
    let kin = home();
    let old = enter(&kin, "web", "80");
    old.know(&set(&["/p/i_"]));
    let new = enter(&kin, "web", "81");
    new.know(&set(&["/p/i_"]));
    old.know(&set(&[]));
    assert_eq!(kin.remembered(&spot("web", "zk1")), set(&["/p/i_"]));
    new.know(&set(&[]));
    assert!(kin.remembered(&spot("web", "zk1")).is_empty());
}

#[test]
fn what_former_reporters_had_is_handed_on_until_it_is_gone() {
    let kin = home();
    let [first, second, third] = ["80", "80", "81"].map(|identity| enter(&kin, "web", identity));
    assert!(first.claim("/p/i_1"));
    first.hand_on(&second);
    assert!(second.claim("/p/i_2"));
    second.hand_on(&third);
    assert_eq!(third.former(), set(&["/p/i_1", "/p/i_2"]));
    third.forget_former();
    assert!(third.former().is_empty() && first.former().is_empty());
}

#[test]
fn services_that_swap_their_names_swap_what_they_know() {
    let kin = home();
    let (a, b) = (enter(&kin, "a", "80"), enter(&kin, "b", "81"));
    a.know(&set(&["/p/i_1"]));
    b.know(&set(&["/p/i_2"]));
    assert!(a.claim("/p/i_1") && b.claim("/p/i_2"));
    let (now_a, now_b) = (enter(&kin, "a", "81"), enter(&kin, "b", "80"));
    a.hand_on(&now_b);
    b.hand_on(&now_a);
    drop((a, b));
    assert_eq!((now_a.known(), now_b.known()), (set(&["/p/i_2"]), set(&["/p/i_1"])));
    assert_eq!(
        (now_a.node().as_deref(), now_b.node().as_deref()),
        (Some("/p/i_2"), Some("/p/i_1"))
    );
    assert_eq!(kin.remembered(&spot("a", "zk1")), set(&["/p/i_2"]));
    assert_eq!(kin.remembered(&spot("b", "zk1")), set(&["/p/i_1"]));
}
