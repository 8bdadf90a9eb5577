//! What the failure of a connect says, and about whom.

use std::io;

use crate::dial::Address;
use crate::lb::OutcomeKind;

/// True when a connect failed for want of something here: descriptors, ports, memory, watches (`ENOSPC`:
/// `fs.epoll.max_user_watches`).
pub(crate) fn is_shortage(addr: &Address, error: &io::Error) -> bool {
    use rustix::io::Errno;
    // Of a unix socket EAGAIN says that its listener does not accept.
    if addr.inet().is_none() && error.kind() == io::ErrorKind::WouldBlock {
        return false;
    }
    [Errno::ADDRNOTAVAIL, Errno::ADDRINUSE, Errno::AGAIN, Errno::NOSPC]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        || super::accept::is_shortage(error)
}

/// What a failed connect says about the backend; `None` when the trouble is ours (descriptors, ports).
pub(super) fn evidence(error: &io::Error) -> Option<OutcomeKind> {
    use io::ErrorKind as K;
    let kind = error.kind();
    // Nobody listens: a socket that is not there says it that way.
    if matches!(kind, K::ConnectionRefused | K::NotFound) {
        return Some(OutcomeKind::Refused);
    }
    matches!(kind, K::ConnectionReset | K::TimedOut | K::HostUnreachable | K::NetworkUnreachable)
        .then_some(OutcomeKind::ConnectFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_shortage_is_no_evidence() {
        let errno = |e: rustix::io::Errno| io::Error::from_raw_os_error(e.raw_os_error());
        assert_eq!(evidence(&errno(rustix::io::Errno::MFILE)), None);
        assert_eq!(evidence(&errno(rustix::io::Errno::ADDRNOTAVAIL)), None);
        assert_eq!(evidence(&errno(rustix::io::Errno::NOSPC)), None);
        let refused = evidence(&errno(rustix::io::Errno::CONNREFUSED));
        assert_eq!(refused, Some(OutcomeKind::Refused));
        // Of a unix socket: not there; and its listener does not accept fast enough.
        let absent = evidence(&errno(rustix::io::Errno::NOENT));
        assert_eq!(absent, Some(OutcomeKind::Refused));
        assert_eq!(evidence(&errno(rustix::io::Errno::AGAIN)), None);
    }
}
