//! Waiting on a state with a deadline.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How often a condition is looked at. Short, so that it adds nothing to what is measured.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `probe` gives `Ok`; panics at the deadline with what it said last.
pub(crate) async fn eventually<T, E, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> T
where
    E: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(said) if Instant::now() >= end => {
                panic!("not within {deadline:?}: {what}; last: {said:?}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Checks that `probe` holds all the time for `span` (for "nothing may happen now").
pub(crate) async fn always<E, F, Fut>(what: &str, span: Duration, mut probe: F)
where
    E: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Err(said) = probe().await {
            panic!("did not hold: {what}: {said:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
