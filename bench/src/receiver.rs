//! The receiver of log lines: it counts them and throws them away.
//!
//! In a thread with an epoll of its own, as a syslog daemon is a process of its own: on the load's epoll every line
//! would take a lock that all clients and origins take as well, at the proxy's expense.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::RecvFlags;
use socket2::{Domain, Socket, Type};

/// Datagrams that may wait for the thread, in bytes: a burst of some thousand lines.
const ROOM: usize = 8 << 20;

/// How long the thread may be deaf to its end.
const EAR: Duration = Duration::from_millis(100);

/// UDP sockets and the thread that reads them. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    lines: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Receiver {
    /// Binds, and receives on the core of the thread that calls.
    pub(crate) fn start(addrs: impl Iterator<Item = SocketAddr>) -> io::Result<Self> {
        let sockets = addrs.map(bind).collect::<io::Result<Vec<_>>>()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, socket) in (0..).zip(&sockets) {
            epoll::add(&epoll, socket, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
        }
        let (lines, is_over) = (Arc::default(), Arc::default());
        let (counted, ends) = (Arc::clone(&lines), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || receive(&epoll, &sockets, &counted, &ends));
        Ok(Self { lines, is_over, thread: Some(thread) })
    }

    /// Lines that have arrived so far.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && !matches!(thread.join(), Ok(Ok(())))
        {
            eprintln!("bench: the receiver of log lines ended with an error");
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), None)?;
    // More than the usual limit where we may.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM)
        .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&socket, ROOM))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn receive(
    epoll: &OwnedFd,
    sockets: &[Socket],
    lines: &AtomicU64,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let ear = Timespec::try_from(EAR).map_err(io::Error::other)?;
    let mut events = Vec::with_capacity(sockets.len());
    while !is_over.load(Ordering::Relaxed) {
        events.clear();
        match epoll::wait(epoll, spare_capacity(&mut events), Some(&ear)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = events.iter().filter_map(|event| usize::try_from(event.data.u64()).ok());
        for socket in ready.filter_map(|number| sockets.get(number)) {
            // One byte is enough: the rest of a datagram is thrown away.
            let mut byte = [0];
            while rustix::net::recv(socket, &mut byte, RecvFlags::empty()).is_ok() {
                lines.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
