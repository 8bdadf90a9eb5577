//! Who binds which address: two listeners on one address are found before anything is bound.
//!
//! Known binders are the admin server, the `bind` lines of `extra_sections`, and the services. A complaint names both
//! sides, because either may be the one to change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Complaint;
use super::reader::Section;
use super::report::{Place, Report};
use super::service::{Resolved, Shared};
use crate::endpoint::ServiceName;
use crate::proxy::{ListenAddr, SocketOptions};

/// Who binds which address.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    by_port: HashMap<u16, Vec<Bound>>,
    /// Unix sockets.
    named: HashMap<ListenAddr, Bound>,
}

#[derive(Clone, Debug)]
struct Bound {
    addr: ListenAddr,
    options: Arc<SocketOptions>,
    owner: Owner,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Admin,
    Section(String),
    Service(ServiceName),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Admin => f.write_str("the admin server"),
            Self::Section(title) => write!(f, "section {title:?}"),
            Self::Service(name) => write!(f, "service {:?}", name.as_str()),
        }
    }
}

impl Taken {
    /// The admin server and `extra_sections`, which may collide with each other already.
    pub fn new(admin: SocketAddr, top: &Section<'_>, shared: &Shared, report: &mut Report) -> Self {
        let mut taken = Self::default();
        taken.bind(Bound {
            addr: admin.into(),
            options: Arc::default(),
            owner: Owner::Admin,
            place: top.place().key("admin").key("listen"),
        });
        for (addr, title, place) in &shared.top.extra_binds {
            let owner = Owner::Section(title.clone());
            let (addr, options) = ((*addr).into(), Arc::default());
            let bound = Bound { addr, options, owner, place: place.clone() };
            report.complaints.extend(taken.clash(&bound));
            taken.bind(bound);
        }
        taken
    }

    /// Adds a service; complains when an address is taken.
    pub fn add(&mut self, service: &Resolved, report: &mut Report) {
        report.complaints.extend(self.conflict(&service.config.name, service));
        for bound in bounds(service) {
            self.bind(bound);
        }
    }

    /// What only the file may give to `service`: unix sockets, as whoever writes its registrations must not have files made
    /// or replaced on this host; who may connect to them; and of an address that the file names, whether its clients may
    /// say who they are.
    pub fn not_given(&self, name: &ServiceName, service: &Resolved) -> Vec<Complaint> {
        let owner = Owner::Service(name.clone());
        let refusal = |bound: &Bound| {
            let addr = &bound.addr;
            let mut given = self.at(addr).iter();
            let given = given.find(|given| given.owner == owner && given.addr == *addr);
            let Some(given) = given else {
                let text = format!("{addr} is refused here: only the file may name a unix socket");
                return addr.is_unix().then_some(text);
            };
            let said = |bound: &Bound| (bound.options.accept_proxy, bound.options.permissions);
            (said(given) != said(bound)).then(|| {
                format!("{addr} is refused here: `accept-proxy` and the permissions of a unix socket must be as in the file")
            })
        };
        let complaint = |bound: Bound| Some(bound.place.complaint(refusal(&bound)?));
        bounds(service).into_iter().filter_map(complaint).collect()
    }

    /// The complaint if somebody else has an address of `service`. One is enough: `localhost` has two addresses.
    pub fn conflict(&self, name: &ServiceName, service: &Resolved) -> Option<Complaint> {
        bounds(service)
            .into_iter()
            .map(|bound| Bound { owner: Owner::Service(name.clone()), ..bound })
            .find_map(|bound| self.clash(&bound))
    }

    /// Those of the same port or name.
    fn at(&self, addr: &ListenAddr) -> &[Bound] {
        match addr.tcp() {
            Some(addr) => self.by_port.get(&addr.port()).map_or(&[][..], Vec::as_slice),
            None => self.named.get(addr).map_or(&[][..], std::slice::from_ref),
        }
    }

    fn clash(&self, wanted: &Bound) -> Option<Complaint> {
        let mut others = self.at(&wanted.addr).iter().filter(|other| other.owner != wanted.owner);
        let other = others.find(|other| overlaps(other, wanted))?;
        let text = format!(
            "{} of {} is taken by {} ({})",
            wanted.addr, wanted.owner, other.owner, other.place
        );
        Some(wanted.place.complaint(text))
    }

    fn bind(&mut self, bound: Bound) {
        match bound.addr.tcp().map(|addr| addr.port()) {
            // The kernel chooses a free one.
            Some(0) => {}
            Some(port) => self.by_port.entry(port).or_default().push(bound),
            None => drop(self.named.entry(bound.addr.clone()).or_insert(bound)),
        }
    }
}

fn bounds(service: &Resolved) -> Vec<Bound> {
    let listener = service.config.listener.iter();
    listener
        .flat_map(|listener| &listener.addrs)
        .map(|addr| Bound {
            addr: addr.addr.clone(),
            options: Arc::clone(&addr.options),
            owner: Owner::Service(service.config.name.clone()),
            place: service.port_place.clone(),
        })
        .collect()
}

/// Same port given: the same address, or one of them stands for all of its family; and not each of its own interface.
fn overlaps(one: &Bound, other: &Bound) -> bool {
    let (Some(a), Some(b)) = (one.addr.tcp(), other.addr.tcp()) else {
        return one.addr == other.addr;
    };
    a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
        && !one.options.is_apart(&other.options)
}
