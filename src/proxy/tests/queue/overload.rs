//! More is asked for than can be served.

use std::time::Duration;

use super::super::rig::{Origin, Setup};
use super::MAX;
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

/// How often [`overload`] may be disturbed by what else the machine does.
const TRIES: usize = 5;

/// More is asked for than can be served: what can be is, and all is well at once when the load is gone. Compares with what
/// is served before and after; a machine that slows down in between is given another try, a queue that costs goodput fails
/// in each.
async fn overload(time: Duration) {
    const SERVICE_TIME: Duration = Duration::from_millis(20);
    /// Too many by this factor: enough for time-outs, little enough that it is not the processor that is overloaded.
    const TOO_MANY: usize = 10;
    let origin = Origin::start(move |_, mut conn| async move {
        while conn.request().await.is_some() {
            tokio::time::sleep(SERVICE_TIME).await;
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut setup = Setup::new(Mode::Http, &[origin.addr]);
    setup.server_max = Some(MAX);
    setup.workers = 2;
    setup.settings.timeouts.queue = Some(SERVICE_TIME * 5);
    let rig = setup.start().await;
    let goodput = async |clients: usize, time: Duration| {
        let deadline = tokio::time::Instant::now() + time;
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let mut client = rig.client().await;
            load.spawn(async move {
                let mut good = 0;
                while tokio::time::Instant::now() < deadline {
                    good += u32::from(client.get("/").await.status == 200);
                }
                good
            });
        }
        f64::from(load.join_all().await.iter().sum::<u32>()) / time.as_secs_f64()
    };
    let is_kept = |last: Option<&(f64, f64, f64)>| {
        last.is_some_and(|(peak, over, after)| *over >= 0.9 * peak && *after >= 0.9 * peak)
    };
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let peak = goodput(MAX as usize, time / 2).await;
        let over = goodput(MAX as usize * TOO_MANY, time).await;
        let recovered = tokio::time::Instant::now();
        assert_eq!(rig.client().await.get("/").await.status, 200);
        assert!(recovered.elapsed() < Duration::from_secs(2), "{:?}", recovered.elapsed());
        let after = goodput(MAX as usize, time / 2).await;
        seen.push((peak, over, after));
        println!("peak {peak:.0}/s, overloaded {over:.0}/s, after {after:.0}/s");
        if is_kept(seen.last()) {
            break;
        }
    }
    assert!(is_kept(seen.last()), "{seen:?}");
    assert!(rig.errors(ErrorCause::QueueTimeout) > 0, "it was no overload");
}

#[tokio::test]
async fn overload_costs_those_that_are_too_many_and_nobody_else() {
    overload(Duration::from_millis(800)).await;
}

#[tokio::test]
async fn slow_overload_for_half_a_minute_keeps_the_goodput() {
    overload(Duration::from_secs(30)).await;
}
