use std::time::Duration;

use smartstack::health::local::LocalProbe;

use crate::services::Service;
use crate::{run, said, target};

#[tokio::test]
async fn a_real_redis_passes() {
    let redis = Service::redis(None);
    for _ in 0..20 {
        assert_eq!(said(LocalProbe::Redis(target(redis.port()))).await, "L7OK");
    }
}

#[tokio::test]
async fn a_redis_that_wants_a_password_fails_and_says_so() {
    let redis = Service::redis(Some("secret"));
    assert_eq!(
        said(LocalProbe::Redis(target(redis.port()))).await,
        "L7STS: redis says \"NOAUTH Authentication required.\""
    );
}

#[tokio::test]
async fn a_stopped_redis_fails_at_the_deadline_and_passes_when_it_goes_on() {
    let redis = Service::redis(None);
    redis.stop();
    let deadline = Duration::from_millis(300);
    let (result, took) = run(LocalProbe::Redis(target(redis.port())), deadline).await;
    assert_eq!(result.unwrap_err().to_string(), "L7TOUT: no answer in time");
    // The rest is this machine's.
    assert!(took >= deadline && took < deadline + Duration::from_secs(2), "{took:?}");
    redis.cont();
    assert_eq!(said(LocalProbe::Redis(target(redis.port()))).await, "L7OK");
}

#[tokio::test]
async fn a_killed_redis_is_refused() {
    let redis = Service::redis(None);
    let asked = LocalProbe::Redis(target(redis.port()));
    drop(redis);
    assert_eq!(said(asked).await, "L4CON: connection refused");
}
