use std::io;
use std::net::SocketAddr;

use super::*;
use crate::dial::Address;

fn retry(retries: u32, redispatch: bool, connect: Option<u64>) -> Retry {
    Retry {
        left: retries,
        redispatch,
        turn_around: connect.map_or(TURN_AROUND, Duration::from_millis).min(TURN_AROUND),
        every: None,
        tried: Vec::new(),
    }
}

fn nowhere() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 1)).into()
}

fn refused() -> ProxyError {
    ProxyError::Connect { addr: nowhere(), source: io::ErrorKind::ConnectionRefused.into() }
}

#[test]
fn redispatch_moves_at_once_while_others_are_eligible() {
    let mut retry = retry(3, true, Some(500));
    assert_eq!(retry.after_failure(BackendId(1), &refused(), 3), Next::Elsewhere);
    assert_eq!(retry.after_failure(BackendId(2), &refused(), 3), Next::Elsewhere);
    assert_eq!(retry.tried, [BackendId(1), BackendId(2)]);
    let pause = Duration::from_millis(500);
    assert_eq!(retry.after_failure(BackendId(3), &refused(), 1), Next::Again(pause));
    assert_eq!(retry.after_failure(BackendId(3), &refused(), 3), Next::GiveUp);
}

#[test]
fn without_redispatch_the_same_backend_is_tried_after_a_pause() {
    let mut short = retry(1, false, Some(200));
    let pause = Duration::from_millis(200);
    assert_eq!(short.after_failure(BackendId(1), &refused(), 3), Next::Same(pause));
    assert_eq!(short.after_failure(BackendId(1), &refused(), 3), Next::GiveUp);
    let mut unset = retry(1, false, None);
    assert_eq!(unset.after_failure(BackendId(1), &refused(), 3), Next::Same(TURN_AROUND));
}

#[test]
fn after_a_timeout_there_is_no_further_pause() {
    let late = ProxyError::ConnectTimeout { addr: nowhere() };
    let mut alone = retry(3, true, Some(500));
    let next = alone.after_failure(BackendId(1), &late, 1);
    assert_eq!(next, Next::Again(Duration::ZERO));
    let mut same = retry(3, false, Some(500));
    let next = same.after_failure(BackendId(1), &late, 2);
    assert_eq!(next, Next::Same(Duration::ZERO));
}

#[test]
fn what_belongs_to_a_backend_goes_elsewhere_only_when_it_is_due() {
    let due: [(i32, &[u32]); 5] = [(-1, &[3]), (-2, &[2]), (1, &[1, 2, 3]), (2, &[2]), (-9, &[])];
    for (every, due) in due {
        let every = Some(Every::new(Redispatch::On { every }, 3));
        let mut retry = Retry { every, ..retry(3, true, Some(500)) };
        let mut next = || retry.after_failure(BackendId(1), &refused(), 3);
        let moved: Vec<u32> = (1..=3).filter(|_| next() == Next::Elsewhere).collect();
        assert_eq!(moved, due, "{every:?}");
        assert_eq!(next(), Next::GiveUp);
    }
}

#[test]
fn zero_retries_give_up_at_the_first_failure() {
    assert_eq!(retry(0, true, None).after_failure(BackendId(1), &refused(), 3), Next::GiveUp);
}
