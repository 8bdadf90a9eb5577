//! What can go wrong with a client's connection, and what everybody gets to see of it.
//!
//! One table maps an error to its side, the status the client reads, and the label it is counted under.

use std::io;

use hyper::StatusCode;

use crate::dial::Address;
use crate::lb::PickError;
use crate::lb::ending::Reason;
use crate::lb::lease::Lease;
use crate::telemetry::cells::ErrorCause;

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The application that called us.
    Client,
    /// The instance that should have answered.
    Backend,
    /// Nobody to ask, or no resources here.
    Proxy,
}

/// Why a request or connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No backend was given.
    #[error("no backend")]
    Pick(#[from] PickError),
    /// `timeout queue` passed, and no backend had room.
    #[error("no backend had room in time")]
    QueueTimeout,
    /// The connection could not be opened.
    #[error("connect to {addr}")]
    Connect {
        /// Where to.
        addr: Address,
        /// The system's answer.
        source: io::Error,
    },
    /// `timeout connect` passed.
    #[error("connect to {addr}: timed out")]
    ConnectTimeout {
        /// Where to.
        addr: Address,
    },
    /// The backend closed, reset or broke the protocol.
    #[error("backend {addr} broke off")]
    Backend {
        /// Who.
        addr: Address,
        /// What hyper or the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `timeout server` passed.
    #[error("backend {addr} did not answer in time")]
    BackendTimeout {
        /// Who.
        addr: Address,
    },
    /// The client went away.
    #[error("client went away")]
    ClientAbort,
    /// The client has finished sending, which `option abortonclose` takes for giving up.
    #[error("client has closed its side and is taken to have given up")]
    GivenUp,
    /// The client's request is not acceptable.
    #[error("bad request: {0}")]
    ClientProtocol(&'static str),
    /// `timeout client` or `timeout http-request` passed.
    #[error("client did not send in time")]
    ClientTimeout,
    /// A reused connection died before a byte of the answer, and the request must not be sent twice: the client's
    /// connection is closed without an answer, so that the client decides.
    #[error("reused connection to {addr} died under a request that cannot be repeated")]
    Unrepeatable {
        /// Who.
        addr: Address,
    },
    /// The system did not let us watch a socket, for want of memory or `fs.epoll.max_user_watches`.
    #[error("a socket cannot be watched")]
    Resource(#[source] io::Error),
}

impl ProxyError {
    /// The table: side, cause, status. No status: the connection is closed without a word.
    fn row(&self) -> (Side, ErrorCause, Option<StatusCode>) {
        use StatusCode as S;
        match self {
            Self::Pick(PickError::NoneEligible { .. }) => {
                (Side::Proxy, ErrorCause::NoBackend, Some(S::SERVICE_UNAVAILABLE))
            }
            Self::Pick(PickError::AllFull { .. }) => {
                (Side::Proxy, ErrorCause::AllFull, Some(S::SERVICE_UNAVAILABLE))
            }
            Self::QueueTimeout => {
                (Side::Proxy, ErrorCause::QueueTimeout, Some(S::SERVICE_UNAVAILABLE))
            }
            Self::Connect { .. } => {
                (Side::Backend, ErrorCause::Connect, Some(S::SERVICE_UNAVAILABLE))
            }
            Self::ConnectTimeout { .. } => {
                (Side::Backend, ErrorCause::ConnectTimeout, Some(S::SERVICE_UNAVAILABLE))
            }
            Self::Backend { .. } => (Side::Backend, ErrorCause::Backend, Some(S::BAD_GATEWAY)),
            Self::BackendTimeout { .. } => {
                (Side::Backend, ErrorCause::BackendTimeout, Some(S::GATEWAY_TIMEOUT))
            }
            Self::ClientAbort => (Side::Client, ErrorCause::ClientAbort, None),
            // It may still read; haproxy says so, too.
            Self::GivenUp => (Side::Client, ErrorCause::ClientAbort, Some(S::BAD_REQUEST)),
            Self::ClientProtocol(_) => {
                (Side::Client, ErrorCause::ClientProtocol, Some(S::BAD_REQUEST))
            }
            Self::ClientTimeout => {
                (Side::Client, ErrorCause::ClientTimeout, Some(S::REQUEST_TIMEOUT))
            }
            Self::Unrepeatable { .. } => (Side::Backend, ErrorCause::Backend, None),
            Self::Resource(_) => (Side::Proxy, ErrorCause::Resource, None),
        }
    }

    /// A backend whose sessions are ended.
    pub(crate) fn ended(lease: &Lease, reason: Reason) -> Self {
        let why = match reason {
            Reason::Down => "it went down, and its sessions with it",
            Reason::Removed => "it was removed, and its sessions with it",
        };
        Self::Backend { addr: lease.addr().clone(), source: why.into() }
    }

    /// Who is to blame.
    pub fn side(&self) -> Side {
        self.row().0
    }

    /// The label it is counted under.
    pub fn cause(&self) -> ErrorCause {
        self.row().1
    }

    /// What the client reads; `None` = nothing, the connection is closed.
    pub fn status(&self) -> Option<StatusCode> {
        self.row().2
    }

    /// True when no byte can have reached the application: trying elsewhere cannot do anything twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::ConnectTimeout { .. })
    }
}

/// The page that goes with a status, in haproxy's words. Empty for statuses that the proxy never makes up.
pub(crate) fn page(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => {
            "<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>\n"
        }
        405 => {
            "<html><body><h1>405 Method Not Allowed</h1>\nA request was made of a resource using a request method not supported by that resource\n</body></html>\n"
        }
        408 => {
            "<html><body><h1>408 Request Time-out</h1>\nYour browser didn't send a complete request in time.\n</body></html>\n"
        }
        414 => {
            "<html><body><h1>414 URI Too Long</h1>\nThe request's target is longer than this proxy accepts.\n</body></html>\n"
        }
        431 => {
            "<html><body><h1>431 Request Header Fields Too Large</h1>\nThe request's headers are larger than this proxy accepts.\n</body></html>\n"
        }
        505 => {
            "<html><body><h1>505 HTTP Version Not Supported</h1>\nThis proxy speaks HTTP/1.0 and HTTP/1.1.\n</body></html>\n"
        }
        413 => {
            "<html><body><h1>413 Payload Too Large</h1>\nThe request entity exceeds the maximum allowed.\n</body></html>\n"
        }
        502 => {
            "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>\n"
        }
        503 => {
            "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
        }
        504 => {
            "<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in time.\n</body></html>\n"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_haproxy() {
        let addr = Address::Inet(([127, 0, 0, 1], 1).into());
        let none = ProxyError::Pick(PickError::NoneEligible { known: 3, up: 0 });
        assert_eq!(none.status().unwrap(), 503);
        assert_eq!(none.cause(), ErrorCause::NoBackend);
        let refused = ProxyError::Connect {
            addr: addr.clone(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(refused.status().unwrap(), 503);
        assert!(refused.is_retryable());
        assert_eq!(ProxyError::BackendTimeout { addr: addr.clone() }.status().unwrap(), 504);
        assert_eq!(ProxyError::Unrepeatable { addr }.status(), None);
        assert_eq!(ProxyError::ClientAbort.side(), Side::Client);
        let resource = ProxyError::Resource(io::ErrorKind::OutOfMemory.into());
        assert_eq!((resource.side(), resource.cause()), (Side::Proxy, ErrorCause::Resource));
    }

    #[test]
    fn every_status_of_the_table_has_a_page() {
        for code in [400, 405, 408, 413, 414, 431, 502, 503, 504, 505] {
            let status = StatusCode::from_u16(code).unwrap();
            assert!(page(status).contains(&format!("<h1>{code} ")), "{code}");
        }
    }
}
