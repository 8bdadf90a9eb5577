//! Connecting by itself: what belongs to an attempt.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::net::TcpListener;

use super::rig::{Setup, settings};
use crate::proxy::Mode;
use crate::proxy::connect::Dialer;
use crate::proxy::local::Local;
use crate::proxy::shared::Shared;
use crate::proxy::timer::Timer;
use crate::proxy::wheel::Group;
use crate::proxy::worker::WorkerSettings;
use crate::telemetry::cells::WorkerId;

#[tokio::test]
async fn a_connection_that_does_not_take_its_header_is_none_and_another_is_tried() {
    let listeners = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let origins = [0, 1].map(|n: usize| listeners[n].local_addr().unwrap());
    let rig = Setup::new(Mode::Tcp, &origins).start().await;
    let local = Rc::new(Local::new(WorkerId(0), Shared::new(1, WorkerSettings::default()).0));
    let timer = Timer::new(&local, Group(0)).await;
    let settings = settings(Mode::Tcp);
    let mut dialer = Dialer::new(&rig.service, &settings, &timer);
    let first = dialer.acquire().await.unwrap();
    let broken = first.addr().clone();
    let said = Cell::new(0);
    let (lease, _stream) = dialer
        .introduce(first, |lease, _| {
            said.set(said.get() + 1);
            if *lease.addr() == broken {
                Err(io::ErrorKind::ConnectionReset.into())
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
    assert_ne!(*lease.addr(), broken);
    assert_eq!((said.get(), dialer.trail.retries, dialer.trail.redispatched), (2, 1, true));
    let errors = |n: usize| rig.pool.backends[n].cells.sum(|it| it.connect_errors.get());
    assert_eq!(errors(0) + errors(1), 1, "counted as a failed connect");
}
