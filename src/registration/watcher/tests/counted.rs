//! What statsd hears.

use super::*;
use crate::registration::RateSettings;
use crate::telemetry::statsd::testing::Agent;

#[tokio::test(start_paused = true)]
async fn statsd_hears_of_each_pass_and_of_what_changes() {
    let agent = Agent::install(&[]);
    let rate = RateSettings { average_rate: 1.0, max_burst: 1.0, is_shadow: true };
    let limits = LimitSettings { rate, damping: None };
    let mut running = Running::start(Script::new([Some(true), Some(false)]), limits);
    running.until(Wanted::Present).await;
    running.until(Wanted::Absent).await;
    running.stop.cancel();
    running.task.await.unwrap();
    let ping = concat!(
        "nerve.watcher.status.ping.count:1|c|#ping_result:success,service_name:web,nerve_version:",
        env!("CARGO_PKG_VERSION")
    );
    let check = |result: &str, name: &str| {
        format!(
            "nerve.watcher.status.service_check:1|c|#check_result:{result},service_name:web,check_name:{name}"
        )
    };
    assert_eq!(
        agent.events::<11>(),
        [
            "nerve.watcher.start:1|c|#service_name:web",
            ping,
            &check("up", "first"),
            &check("up", "second"),
            "nerve.watcher.status.transition:1|c|#new_status:up,service_name:web",
            ping,
            &check("up", "first"),
            &check("down", "second"),
            "nerve.watcher.throttled:1|c|#service_name:web,shadow_mode:true",
            "nerve.watcher.status.transition:1|c|#new_status:down,service_name:web",
            "nerve.watcher.stop:1|c|#stop_avenue:clean,stop_location:main_loop,service_name:web",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_ping_fails_while_the_session_is_not_connected() {
    let agent = Agent::install(&[]);
    let session = Session {
        state: SessionState::Disconnected,
        generation: 1,
        since: Instant::now(),
        id: Some(1),
        negotiated_timeout: None,
        last_error: None,
    };
    let (_session, session) = watch::channel(session);
    let (limits, name) = (LimitSettings::default(), ServiceName::new("web"));
    let watcher = Watcher::with_checks(Script::always(true), INTERVAL, limits, name);
    let (out, mut wanted) = watch::channel(Wanted::Undecided);
    let (_marks, marks) = watch::channel(None);
    let (stop, view) = (CancellationToken::new(), watch::Sender::default());
    let watcher = watcher.over(Some(session));
    let task = tokio::spawn(watcher.run(marks, out, view, stop.clone()));
    wanted.wait_for(|wanted| *wanted == Wanted::Present).await.unwrap();
    stop.cancel();
    task.await.unwrap();
    assert_eq!(agent.next(), "nerve.watcher.start:1|c|#service_name:web");
    let ping = agent.next();
    assert!(ping.contains("ping_result:fail,service_name:web"), "{ping}");
}
