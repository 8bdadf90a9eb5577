//! What a running `synapse` says of itself.

use serde_json::Value;

use super::super::client;
use super::Synapse;

impl Synapse {
    /// `/services/NAME`.
    pub(crate) async fn service(&self, name: &str) -> Value {
        let answer = client::get(self.admin, &format!("/services/{name}")).await.expect("admin");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        let answer = client::get(self.admin, "/metrics").await.expect("admin");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The value of a metric without labels; 0 while it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The value of a metric with labels, of which there is one sample.
    pub(crate) async fn sample(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let labelled = format!("{name}{{");
        let mut samples = metrics.lines().filter_map(|line| line.strip_prefix(&labelled));
        let (Some(sample), None) = (samples.next(), samples.next()) else {
            panic!("not one sample of {name}:\n{metrics}");
        };
        sample.rsplit(' ').next().expect("a value").parse().expect("a number")
    }

    /// Whether it says that it hears its one ensemble.
    pub(crate) async fn is_connected(&self) -> bool {
        self.sample("synapse_registry_connected").await > 0.0
    }

    /// Sessions that it has opened with its one ensemble.
    pub(crate) async fn sessions(&self) -> f64 {
        self.sample("synapse_registry_sessions_total").await
    }

    /// Changes of the set of its one service.
    pub(crate) async fn changes(&self) -> f64 {
        self.sample("synapse_membership_changes_total").await
    }
}
