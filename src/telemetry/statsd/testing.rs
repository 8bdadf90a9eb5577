//! An agent on loopback for tests; it gets the events of one thread.

use std::cell::RefCell;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::client::Statsd;
use super::{Program, StatsdSettings};

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Arc<Statsd>>> = const { RefCell::new(None) };
}

pub(super) fn current() -> Option<Arc<Statsd>> {
    OF_THIS_THREAD.with_borrow(Clone::clone)
}

/// Gets what this thread sends, until it is dropped.
#[derive(Debug)]
pub(crate) struct Agent(UdpSocket);

impl Agent {
    /// From now on. `rates`: `statsd.sample_rate`.
    pub(crate) fn install(rates: &[(&str, f64)]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let settings = StatsdSettings {
            host: "127.0.0.1".to_owned(),
            port: socket.local_addr().unwrap().port(),
            sample_rates: rates.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect(),
        };
        let statsd = Statsd::new(Program::Nerve, &settings);
        OF_THIS_THREAD.set(Some(Arc::new(statsd)));
        Self(socket)
    }

    /// The next event.
    pub(crate) fn next(&self) -> String {
        let mut buffer = [0; 2_048];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next events.
    pub(crate) fn events<const N: usize>(&self) -> [String; N] {
        std::array::from_fn(|_| self.next())
    }

    /// What is not there by now is an error.
    pub(crate) fn never_wait(&self) {
        self.0.set_nonblocking(true).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        OF_THIS_THREAD.set(None);
    }
}
