//! What waits in a connection of this host, as the kernel shows it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::wait::eventually;

/// Waits until the other end has read all that was said; false when the connection is no more. Both ends are on this host.
pub(crate) async fn until_read(stream: &TcpStream, limit: Duration) -> bool {
    let (Ok(own), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
        return false;
    };
    let mut stands = true;
    // First ours: what has not arrived is not in the other's queue.
    for (ends, queue) in [((own, peer), 0), ((peer, own), 1)] {
        stands &= eventually("it is read", limit, || async {
            match queued(ends).map(|queues| queues[queue]) {
                None => Ok(false),
                Some(0) => Ok(true),
                waits => Err(waits),
            }
        })
        .await;
    }
    stands
}

/// Bytes that wait in a socket, to be acknowledged and to be read (`proc_net_tcp` in the kernel's documentation).
fn queued((local, remote): (SocketAddr, SocketAddr)) -> Option<[u64; 2]> {
    let hex = |addr: SocketAddr| match addr {
        SocketAddr::V4(addr) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port())
        }
        SocketAddr::V6(_) => unreachable!("a lab has addresses of IPv4"),
    };
    let ends = format!(" {} {} ", hex(local), hex(remote));
    let all = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let line = all.lines().find(|line| line.contains(&ends))?;
    let queues = line.split_whitespace().nth(4).and_then(|both| both.split_once(':'));
    let (sent, came) = queues.expect("two queues");
    Some([sent, came].map(|hex| u64::from_str_radix(hex, 16).expect("hexadecimal")))
}
