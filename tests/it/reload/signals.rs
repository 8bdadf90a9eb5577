//! The signals that end the process.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{PATIENCE, http, logged};
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::origin::Origin;
use crate::support::synapse::{Synapse, config};
use crate::support::wait::eventually;

/// A synapse with one request held by its backend.
async fn held(lab: &Lab, file: impl FnOnce(Value) -> Value) -> (Synapse, Origin) {
    let a = lab.origin("A").await;
    let front = lab.free_addr();
    let synapse = lab.synapse(file(config(json!({"web": http(front, &a)})))).await;
    tokio::spawn(get(front, "/hold"));
    eventually("it is held", PATIENCE, || async {
        if a.held() == 1 { Ok(()) } else { Err(a.held()) }
    })
    .await;
    (synapse, a)
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::USR1, Signal::INT)] {
        let lab = Lab::new().await;
        let (mut synapse, _a) = held(&lab, |file| file).await;
        synapse.signal(first);
        eventually("it stops softly", PATIENCE, || async {
            if synapse.log().contains("draining connections") { Ok(()) } else { Err(synapse.log()) }
        })
        .await;
        let asked = Instant::now();
        synapse.signal(second);
        assert_eq!(synapse.ended().await.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        logged(&synapse, "stopping at once").await;
    }
}

#[tokio::test]
async fn a_soft_stop_is_bounded_by_haproxys_line_and_the_native_key_even_reloaded() {
    let lab = Lab::new().await;
    let line = |mut file: Value| {
        file["haproxy"]["global"] = json!(["hard-stop-after 300ms"]);
        file
    };
    let (mut synapse, _a) = held(&lab, line).await;
    let asked = Instant::now();
    synapse.signal(Signal::USR1);
    assert_eq!(synapse.ended().await.code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    logged(&synapse, "cut=1").await;

    let (mut synapse, _b) = held(&lab, |file| file).await;
    let mut file = config(json!({}));
    file["hard_stop_after"] = json!("200ms");
    synapse.rewrite(&lab, file);
    assert!(synapse.reload().await);
    let asked = Instant::now();
    synapse.signal(Signal::TERM);
    assert_eq!(synapse.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
