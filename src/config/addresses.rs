//! Who binds which address: two listeners on one address are found before anything is bound.
//!
//! Known binders are the admin server, the `bind` lines of `extra_sections`, and the services. A complaint names both
//! sides, because either may be the one to change.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Complaint;
use super::reader::Section;
use super::report::{Place, Report};
use super::service::{Resolved, Shared};
use crate::endpoint::ServiceName;
use crate::proxy::ListenAddr;

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
            owner: Owner::Admin,
            place: top.place().key("admin").key("listen"),
        });
        for (addr, title, place) in &shared.top.extra_binds {
            let owner = Owner::Section(title.clone());
            let bound = Bound { addr: (*addr).into(), owner, place: place.clone() };
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

    /// Unix sockets of `service` that the file does not give to it: whoever writes its registrations must not have files
    /// made or replaced on this host.
    pub fn not_given(&self, name: &ServiceName, service: &Resolved) -> Vec<Complaint> {
        let is_given = |bound: &Bound| {
            let given = self.named.get(&bound.addr);
            given.is_some_and(|given| given.owner == Owner::Service(name.clone()))
        };
        bounds(service)
            .into_iter()
            .filter(|bound| bound.addr.is_unix() && !is_given(bound))
            .map(|bound| {
                let text =
                    format!("{} is refused here: only the file may name a unix socket", bound.addr);
                bound.place.complaint(text)
            })
            .collect()
    }

    /// The complaint if somebody else has an address of `service`. One is enough: `localhost` has two addresses.
    pub fn conflict(&self, name: &ServiceName, service: &Resolved) -> Option<Complaint> {
        bounds(service)
            .into_iter()
            .map(|bound| Bound { owner: Owner::Service(name.clone()), ..bound })
            .find_map(|bound| self.clash(&bound))
    }

    fn clash(&self, wanted: &Bound) -> Option<Complaint> {
        let others = match wanted.addr.tcp() {
            Some(addr) => self.by_port.get(&addr.port()).map_or(&[][..], Vec::as_slice),
            None => self.named.get(&wanted.addr).map_or(&[][..], std::slice::from_ref),
        };
        let mut others = others.iter().filter(|other| other.owner != wanted.owner);
        let other = others.find(|other| overlaps(&other.addr, &wanted.addr))?;
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
            owner: Owner::Service(service.config.name.clone()),
            place: service.port_place.clone(),
        })
        .collect()
}

/// Same port given: the same address, or one of them stands for all of its family.
fn overlaps(a: &ListenAddr, b: &ListenAddr) -> bool {
    let (Some(a), Some(b)) = (a.tcp(), b.tcp()) else {
        return a == b;
    };
    a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
