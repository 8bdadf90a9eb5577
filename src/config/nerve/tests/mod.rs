//! From text to what nerve checks and registers.

mod golden;
mod keys;
mod mistakes;
mod sources;

use serde_json::Value;

use super::*;
use crate::config::document::{self, Document, Reading};
use crate::config::report::Report;
use crate::config::template::Env;
use crate::registration::{Place, ZooKeeperPlace};

fn env() -> Env {
    Env::new(|name| (name == "STATE_DIRECTORY").then(|| "/run/state".to_owned()))
}

fn options() -> NerveLoadOptions {
    NerveLoadOptions { env: env(), ..NerveLoadOptions::new("nerve.yaml") }
}

fn load_with(text: &str, options: &NerveLoadOptions) -> Result<NerveConfig, Report> {
    let reading = Reading::nerve(&options.env);
    let value = document::parse_bytes(text.as_bytes(), false, &reading).unwrap();
    let Value::Object(map) = value else { panic!("not a map: {value}") };
    resolve(&Document::new("nerve.yaml", map), options, Report::default())
}

pub(super) fn good(text: &str) -> NerveConfig {
    load_with(text, &options()).unwrap_or_else(|report| panic!("{report:#?}"))
}

fn lines(complaints: &[Complaint]) -> Vec<String> {
    complaints.iter().map(ToString::to_string).collect()
}

fn complaints(text: &str) -> Vec<String> {
    lines(&load_with(text, &options()).unwrap_err().complaints)
}

/// One service with the keys that every one needs and `more`.
fn service_text(more: &str) -> String {
    format!(
        "instance_id: i-1\nservices: {{web: {{host: h, port: 80, zk_hosts: [zk:2181], zk_path: /web{more}}}}}"
    )
}

fn one(more: &str) -> NerveService {
    good(&service_text(more)).services.remove(0)
}

fn bytes(service: &NerveService) -> String {
    String::from_utf8(service.registration.record.encode()).unwrap()
}

pub(super) fn node(service: &NerveService) -> &ZooKeeperPlace {
    match &service.registration.place {
        Place::ZooKeeper(place) => place,
        Place::File { path } => panic!("{}", path.display()),
    }
}

fn names(service: &NerveService) -> Vec<&str> {
    service.checks.checks.iter().map(|check| &*check.name).collect()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
