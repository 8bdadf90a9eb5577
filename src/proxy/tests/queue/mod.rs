//! What happens while all servers are full.

mod leaving;
mod order;
mod overload;
mod waiting;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::logged::Logged;
use super::rig::{Client, Origin, PATIENCE, Setup, until};
use crate::proxy::Mode;

/// `maxconn` of the server.
const MAX: u32 = 5;

/// An origin whose answers are let go one by one, in the order in which requests came.
struct Gated {
    origin: Origin,
    gate: Arc<Semaphore>,
    /// The numbers in the requests' paths, as they came.
    order: Arc<Mutex<Vec<usize>>>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gated {
    async fn start(closes: bool) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let order = Arc::<Mutex<Vec<usize>>>::default();
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (tickets, seen, count, top) = (gate.clone(), order.clone(), now.clone(), most.clone());
        let origin = Origin::start(move |_, mut conn| {
            let (gate, order, now, most) =
                (tickets.clone(), seen.clone(), count.clone(), top.clone());
            async move {
                while let Some(request) = conn.request().await {
                    let number = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                    order.lock().unwrap().push(number);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Ordering::SeqCst);
                    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    if closes {
                        return;
                    }
                }
            }
        })
        .await;
        Self { origin, gate, order, now, most }
    }

    fn seen(&self) -> usize {
        self.order.lock().unwrap().len()
    }
}

/// A rig that logs, with one server of `maxconn 1` that a first request holds.
async fn held(mode: Mode, change: impl FnOnce(&mut Setup)) -> (Logged, Gated, Client) {
    let gated = Gated::start(false).await;
    let mut setup = Setup::new(mode, &[gated.origin.addr]);
    setup.server_max = Some(1);
    setup.settings.timeouts.connect = Some(PATIENCE);
    change(&mut setup);
    let logged = Logged::new(setup).await;
    let mut first = logged.rig.client().await;
    first.send("GET /0 HTTP/1.1\r\nhost: t\r\n\r\n").await;
    until("held", || gated.seen() == 1).await;
    (logged, gated, first)
}

async fn queued(logged: &Logged, length: u32) {
    until("in line", || logged.rig.pool.handle.queue().length == length).await;
}
