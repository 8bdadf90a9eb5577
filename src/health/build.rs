//! From settings to a probe.

use std::sync::Arc;
use std::time::Duration;

use super::http::HttpProbe;
use super::tcp::{Connect, TcpProbe};
use super::{CheckSettings, Probe, ProbeSettings};

/// The probe that `settings` ask for. It has no state: targets with equal settings may share it.
pub fn build(settings: &CheckSettings) -> Arc<dyn Probe> {
    match &settings.probe {
        ProbeSettings::Tcp => Arc::new(TcpProbe::new(connect(settings))),
        ProbeSettings::Http(http) => {
            Arc::new(HttpProbe::new(http, connect(settings), settings.timeout))
        }
    }
}

fn connect(settings: &CheckSettings) -> Connect {
    Connect { bound: connect_bound(settings), way: settings.way.clone() }
}

/// Time for the connect alone: min(`timeout connect`, `inter`) with `timeout check`, else all of `inter`.
fn connect_bound(settings: &CheckSettings) -> Duration {
    match (settings.timeout, settings.connect_timeout) {
        (Some(_), Some(connect)) => connect.min(settings.interval),
        (Some(_), None) | (None, _) => settings.interval,
    }
}
