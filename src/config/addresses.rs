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

/// Who binds which address.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    by_port: HashMap<u16, Vec<Bound>>,
}

#[derive(Clone, Debug)]
struct Bound {
    addr: SocketAddr,
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
            addr: admin,
            owner: Owner::Admin,
            place: top.place().key("admin").key("listen"),
        });
        for (addr, title, place) in &shared.top.extra_binds {
            let bound =
                Bound { addr: *addr, owner: Owner::Section(title.clone()), place: place.clone() };
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

    /// The complaint if somebody else has an address of `service`. One is enough: `localhost` has two addresses.
    pub fn conflict(&self, name: &ServiceName, service: &Resolved) -> Option<Complaint> {
        bounds(service)
            .into_iter()
            .map(|bound| Bound { owner: Owner::Service(name.clone()), ..bound })
            .find_map(|bound| self.clash(&bound))
    }

    fn clash(&self, wanted: &Bound) -> Option<Complaint> {
        let same_port = self.by_port.get(&wanted.addr.port())?;
        let other =
            same_port.iter().find(|b| b.owner != wanted.owner && overlaps(b.addr, wanted.addr))?;
        let text = format!(
            "{} of {} is taken by {} ({})",
            wanted.addr, wanted.owner, other.owner, other.place
        );
        Some(wanted.place.complaint(text))
    }

    fn bind(&mut self, bound: Bound) {
        // Port 0: the kernel chooses a free one.
        if bound.addr.port() != 0 {
            self.by_port.entry(bound.addr.port()).or_default().push(bound);
        }
    }
}

fn bounds(service: &Resolved) -> Vec<Bound> {
    let listener = service.config.listener.iter();
    listener
        .flat_map(|listener| &listener.addrs)
        .map(|addr| Bound {
            addr: addr.addr,
            owner: Owner::Service(service.config.name.clone()),
            place: service.port_place.clone(),
        })
        .collect()
}

/// Same port given: the same address, or one of them stands for all of its family.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
