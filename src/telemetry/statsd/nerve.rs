//! nerve's events, one function each.

use std::time::Duration;

use super::client::{emit, emit_time};
use super::cluster::cluster;
use super::names;

/// Our version, where the original says its own.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a service's watcher begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its service is new.
    New,
    /// Its service is gone.
    Old,
    /// Its service has other settings.
    Update,
}

impl Reason {
    fn tag(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Update => "update",
        }
    }
}

/// What became of writing a node again for `ttl_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// Acknowledged.
    Done,
    /// It is gone or not ours any more.
    NoNode,
    /// Not acknowledged.
    NoAnswer,
}

/// Serving begins.
pub fn started() {
    emit(&names::NERVE_START, 1, &[]);
}

/// An orderly end, `after` this time.
pub fn stopped(after: Duration) {
    emit_time(&names::NERVE_MAIN_LOOP, after, &[]);
    emit(&names::NERVE_STOP, 1, &["clean", "main_loop"]);
}

/// The start came to nothing.
pub fn aborted() {
    emit(&names::NERVE_STOP, 1, &["abort", "init"]);
}

/// A configuration is in force, the first one included.
pub fn config_updated() {
    emit(&names::NERVE_CONFIG_UPDATE, 1, &[]);
}

/// A service is taken up.
pub fn watcher_launched(reason: Reason, service: &str) {
    emit(&names::NERVE_WATCHER_LAUNCH, 1, &[reason.tag(), service]);
}

/// A service is given up.
pub fn watcher_reaped(reason: Reason, service: &str) {
    emit(&names::NERVE_WATCHER_REAP, 1, &[reason.tag(), service]);
}

/// A watcher runs.
pub fn watcher_started(service: &str) {
    emit(&names::NERVE_WATCHER_START, 1, &[service]);
}

/// A watcher has ended as it was told.
pub fn watcher_stopped(service: &str) {
    emit(&names::NERVE_WATCHER_STOP, 1, &["clean", "main_loop", service]);
}

/// The registry is there, or not; once a pass.
pub fn ping(is_there: bool, service: &str) {
    emit(&names::NERVE_PING, 1, &[success(is_there), service, VERSION]);
}

/// A check has run; its verdict.
pub fn service_check(is_up: bool, service: &str, check: &str) {
    emit(&names::NERVE_SERVICE_CHECK, 1, &[up(is_up), service, check]);
}

/// A change of the service stands in the registry.
pub fn transition(is_up: bool, service: &str) {
    emit(&names::NERVE_TRANSITION, 1, &[up(is_up), service]);
}

/// A write to the registry was acknowledged, or failed.
pub fn report(is_acknowledged: bool, service: &str) {
    emit(&names::NERVE_REPORT, 1, &[success(is_acknowledged), service]);
}

/// A change was held back by `rate_limiting`, or would have been.
pub fn throttled(service: &str, is_shadow: bool) {
    let shadow = if is_shadow { "true" } else { "false" };
    emit(&names::NERVE_THROTTLED, 1, &[service, shadow]);
}

/// A service uses a session with an ensemble: one that was opened for it, or one that was open.
pub fn client_used(ensemble: &str, is_new: bool) {
    let metric = if is_new { &names::NERVE_ZK_CREATED } else { &names::NERVE_ZK_REUSED };
    emit(metric, 1, &[cluster(ensemble)]);
}

/// Length of the encoded record that a node's name is made of.
pub fn child_bytes(ensemble: &str, path: &str, bytes: usize) {
    emit(&names::NERVE_ZK_CHILD_BYTES, bytes as u64, &[cluster(ensemble), path]);
}

/// A node was created under `path`.
pub fn create_took(ensemble: &str, path: &str, took: Duration) {
    emit_time(&names::NERVE_ZK_CREATE, took, &[cluster(ensemble), path]);
}

/// A node's data was written.
pub fn save_took(ensemble: &str, took: Duration) {
    emit_time(&names::NERVE_ZK_SAVE, took, &[cluster(ensemble)]);
}

/// A node was deleted.
pub fn delete_took(ensemble: &str, took: Duration) {
    emit_time(&names::NERVE_ZK_DELETE, took, &[cluster(ensemble)]);
}

/// A node was written again for `ttl_seconds`.
pub fn ttl_renewed(ensemble: &str, renewal: Renewal) {
    let cluster = cluster(ensemble);
    match renewal {
        Renewal::Done => emit(&names::NERVE_ZK_TTL, 1, &[cluster, "success"]),
        Renewal::NoNode => emit(&names::NERVE_ZK_TTL, 1, &[cluster, "fail", "no_node"]),
        Renewal::NoAnswer => emit(&names::NERVE_ZK_TTL, 1, &[cluster, "fail", "connection_error"]),
    }
}

fn success(is_success: bool) -> &'static str {
    if is_success { "success" } else { "fail" }
}

fn up(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::statsd::testing::Agent;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_process_tells_what_the_original_tells() {
        let agent = Agent::install(&[]);
        started();
        config_updated();
        watcher_launched(Reason::New, "web");
        watcher_launched(Reason::Update, "web");
        watcher_reaped(Reason::Old, "web");
        watcher_started("web");
        watcher_stopped("web");
        stopped(1_500 * MS);
        aborted();
        assert_eq!(
            agent.events::<10>(),
            [
                "nerve.start:1|c",
                "nerve.config.update:1|c",
                "nerve.watcher.launch:1|c|#launch_reason:new,watcher_name:web",
                "nerve.watcher.launch:1|c|#launch_reason:update,watcher_name:web",
                "nerve.watcher.reap:1|c|#reap_reason:old,watcher_name:web",
                "nerve.watcher.start:1|c|#service_name:web",
                "nerve.watcher.stop:1|c|#stop_avenue:clean,stop_location:main_loop,service_name:web",
                "nerve.main_loop.elapsed_time:1500|ms",
                "nerve.stop:1|c|#stop_avenue:clean,stop_location:main_loop",
                "nerve.stop:1|c|#stop_avenue:abort,stop_location:init",
            ]
        );
    }

    #[test]
    fn a_watcher_tells_what_the_original_tells() {
        let agent = Agent::install(&[]);
        ping(false, "web");
        service_check(true, "web", "web tcp-127.0.0.1:80");
        transition(false, "web");
        report(true, "web");
        report(false, "web");
        throttled("web", true);
        let ping = format!("ping_result:fail,service_name:web,nerve_version:{VERSION}");
        assert_eq!(
            agent.events::<6>(),
            [
                &*format!("nerve.watcher.status.ping.count:1|c|#{ping}"),
                "nerve.watcher.status.service_check:1|c|#check_result:up,service_name:web,check_name:web tcp-127.0.0.1:80",
                "nerve.watcher.status.transition:1|c|#new_status:down,service_name:web",
                "nerve.watcher.status.report.count:1|c|#report_result:success,service_name:web",
                "nerve.watcher.status.report.count:1|c|#report_result:fail,service_name:web",
                "nerve.watcher.throttled:1|c|#service_name:web,shadow_mode:true",
            ]
        );
    }

    #[test]
    fn a_reporter_tells_what_the_original_tells() {
        const ZK: &str = "zk2.ex.com:2181,zk10.ex.com:2181";
        let agent = Agent::install(&[]);
        client_used(ZK, true);
        client_used(ZK, false);
        child_bytes(ZK, "/a", 68);
        create_took(ZK, "/a", 3 * MS);
        save_took(ZK, MS / 4);
        delete_took(ZK, 2 * MS);
        ttl_renewed(ZK, Renewal::Done);
        ttl_renewed(ZK, Renewal::NoNode);
        ttl_renewed("localhost:2181", Renewal::NoAnswer);
        assert_eq!(
            agent.events::<9>(),
            [
                "nerve.reporter.zk.client.created:1|c|#zk_cluster:zk",
                "nerve.reporter.zk.client.reused:1|c|#zk_cluster:zk",
                "nerve.reporter.zk.child.bytes:68|g|#zk_cluster:zk,zk_path:/a",
                "nerve.reporter.zk.create.elapsed_time:3|ms|#zk_cluster:zk,zk_path:/a",
                "nerve.reporter.zk.save.elapsed_time:0|ms|#zk_cluster:zk",
                "nerve.reporter.zk.delete.elapsed_time:2|ms|#zk_cluster:zk",
                "nerve.reporter.zk.ttl.renew:1|c|#zk_cluster:zk,result:success",
                "nerve.reporter.zk.ttl.renew:1|c|#zk_cluster:zk,result:fail,reason:no_node",
                "nerve.reporter.zk.ttl.renew:1|c|#zk_cluster:localhost:,result:fail,reason:connection_error",
            ]
        );
    }
}
