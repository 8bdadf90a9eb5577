//! synapse's events, one function each.

use std::sync::Arc;
use std::time::Duration;

use super::client::{emit, emit_time};
use super::cluster::cluster;
use super::names;

/// Our version, where the original says its own.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which generator's configuration is meant: the original has one for each product that it configures, we are the one.
const GENERATOR: &str = "haproxy";

/// Serving begins.
pub fn started() {
    emit(&names::SYNAPSE_START, 1, &[]);
}

/// All services of the start run; that took so long.
pub fn watchers_started(took: Duration) {
    emit_time(&names::SYNAPSE_WATCHERS_START, took, &[]);
}

/// An orderly end, `after` this time.
pub fn stopped(after: Duration) {
    emit_time(&names::SYNAPSE_MAIN_LOOP, after, &[]);
    emit(&names::SYNAPSE_STOP, 1, &["clean", "main_loop"]);
}

/// The start came to nothing. The original adds a "clean" stop to that, which is a defect.
pub fn aborted() {
    emit(&names::SYNAPSE_STOP, 1, &["abort", "init"]);
}

/// A service's discovery runs.
pub fn watcher_started(service: &str) {
    emit(&names::SYNAPSE_WATCHER_START, 1, &["success", service]);
}

/// A service's discovery has ended as it was told.
pub fn watcher_stopped(service: &str) {
    emit(&names::SYNAPSE_WATCHER_STOP, 1, &["clean", "main_loop", service]);
}

/// A service's discovery is well, or in trouble; once a second.
pub fn ping(is_well: bool, service: &str) {
    let result = if is_well { "success" } else { "failure" };
    emit(&names::SYNAPSE_WATCHER_PING, 1, &[service, result, VERSION]);
}

/// Other backends or settings are in force.
pub fn config_updated() {
    emit(&names::SYNAPSE_CONFIG_UPDATE, 1, &[]);
}

/// Other settings were refused.
pub fn config_refused() {
    emit(&names::SYNAPSE_CONFIG_FAILED, 1, &[GENERATOR]);
}

/// Whose events a watcher's are: the tags that all of them have. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watcher {
    ensemble: Arc<str>,
    path: Arc<str>,
    service: Arc<str>,
}

impl Watcher {
    /// `service` is found under `path` of `ensemble` (hosts sorted and joined by `,`).
    pub fn new(ensemble: Arc<str>, path: Arc<str>, service: &str) -> Self {
        Self { ensemble, path, service: Arc::from(service) }
    }

    fn of_service(&self) -> [&str; 2] {
        [cluster(&self.ensemble), &self.service]
    }

    fn of_path(&self) -> [&str; 3] {
        [cluster(&self.ensemble), &self.path, &self.service]
    }

    /// The service uses a session with the ensemble: the first one of all, or one that is open.
    pub fn client(&self, is_new: bool) {
        let metric = if is_new { &names::SYNAPSE_ZK_CREATED } else { &names::SYNAPSE_ZK_REUSED };
        emit(metric, 1, &self.of_service());
    }

    /// The session expired.
    pub fn session_expired(&self) {
        emit(&names::SYNAPSE_ZK_EXPIRED, 1, &self.of_service());
    }

    /// The children are going to be looked at.
    pub fn discovers(&self) {
        emit(&names::SYNAPSE_ZK_DISCOVERY, 1, &self.of_path());
    }

    /// That look is over.
    pub fn discovery_took(&self, took: Duration) {
        emit_time(&names::SYNAPSE_ZK_DISCOVERY_TIME, took, &self.of_path());
    }

    /// The children were listed.
    pub fn listing_took(&self, took: Duration) {
        emit_time(&names::SYNAPSE_ZK_CHILDREN, took, &self.of_service());
    }

    /// The children could not be listed.
    pub fn listing_failed(&self) {
        emit(&names::SYNAPSE_ZK_CHILDREN_FAILED, 1, &self.of_service());
    }

    /// The data that was missing was read, of all children together (the original reads one after the other).
    pub fn reading_took(&self, took: Duration) {
        emit_time(&names::SYNAPSE_ZK_GET, took, &self.of_service());
    }

    /// A child cannot be used: it was read and is malformed, or could not be read.
    pub fn child_unusable(&self, is_read: bool) {
        let parse = &names::SYNAPSE_ZK_PARSE_FAILED;
        emit(if is_read { parse } else { &names::SYNAPSE_ZK_GET_FAILED }, 1, &[]);
    }

    /// A generator config could not be read.
    pub fn config_unread(&self) {
        emit(&names::SYNAPSE_ZK_CONFIG_FAILED, 1, &[]);
    }
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
        watchers_started(12 * MS);
        watcher_started("search");
        ping(true, "search");
        ping(false, "search");
        config_updated();
        config_refused();
        watcher_stopped("search");
        stopped(2_000 * MS);
        aborted();
        let ping =
            |result| format!("watcher_name:search,ping_result:{result},synapse_version:{VERSION}");
        assert_eq!(
            agent.events::<11>(),
            [
                "synapse.start:1|c",
                "synapse.watchers.start.time:12|ms",
                "synapse.watcher.start:1|c|#start_result:success,watcher_name:search",
                &*format!("synapse.watcher.ping.count:1|c|#{}", ping("success")),
                &*format!("synapse.watcher.ping.count:1|c|#{}", ping("failure")),
                "synapse.config.update:1|c",
                "synapse.config.update_failed:1|c|#config_name:haproxy",
                "synapse.watcher.stop:1|c|#stop_avenue:clean,stop_location:main_loop,watcher_name:search",
                "synapse.main_loop.elapsed_time:2000|ms",
                "synapse.stop:1|c|#stop_avenue:clean,stop_location:main_loop",
                "synapse.stop:1|c|#stop_avenue:abort,stop_location:init",
            ]
        );
    }

    #[test]
    fn a_watcher_tells_what_the_original_tells() {
        let agent = Agent::install(&[]);
        let watcher = Watcher::new("localhost:2181".into(), "/s".into(), "search");
        watcher.client(true);
        watcher.client(false);
        watcher.session_expired();
        watcher.discovers();
        watcher.discovery_took(9 * MS);
        watcher.listing_took(4 * MS);
        watcher.listing_failed();
        watcher.reading_took(5 * MS);
        watcher.child_unusable(false);
        watcher.child_unusable(true);
        watcher.config_unread();
        assert_eq!(
            agent.events::<11>(),
            [
                "synapse.watcher.zk.client.created:1|c|#zk_cluster:localhost:,service_name:search",
                "synapse.watcher.zk.client.reused:1|c|#zk_cluster:localhost:,service_name:search",
                "synapse.watcher.zk.session.expired:1|c|#zk_cluster:localhost:,service_name:search",
                "synapse.watcher.zk.discovery:1|c|#zk_cluster:localhost:,zk_path:/s,service_name:search",
                "synapse.watcher.zk.discovery.elapsed_time:9|ms|#zk_cluster:localhost:,zk_path:/s,service_name:search",
                "synapse.watcher.zk.children.elapsed_time:4|ms|#zk_cluster:localhost:,service_name:search",
                "synapse.watcher.zk.children.failed:1|c|#zk_cluster:localhost:,service_name:search",
                "synapse.watcher.zk.get.elapsed_time:5|ms|#zk_cluster:localhost:,service_name:search",
                "synapse.watcher.zk.get_child_failed:1|c",
                "synapse.watcher.zk.parse_child_failed:1|c",
                "synapse.watcher.zk.get_config_failed:1|c",
            ]
        );
    }
}
