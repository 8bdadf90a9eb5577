//! Method and path to answer. Plain functions: nothing here waits or knows about connections.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::telemetry::{cold, render};

use super::percent::percent_decode;
use super::site::{
    Answer, Asked, Form, Lane, Site, body, in_pieces, json, nearest, not_allowed, plain,
};
use super::{AdminState, ServiceEntry, diagnosis, index, metrics, services, table};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`.
    Index,
    /// `/live`.
    Live,
    /// `/ready`.
    Ready,
    /// `/metrics`.
    Metrics,
    /// `/services`.
    Services,
    /// `/services/NAME`, the name as it stands in the path.
    Service(String),
    /// Anything else.
    Unknown,
}

/// What a 404 lists.
const PATHS: &str = "/ /live /ready /metrics /services /services/NAME";

impl Route {
    /// Finds the route of a path (without query).
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/" => Self::Index,
            "/live" => Self::Live,
            "/ready" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/services" | "/services/" => Self::Services,
            other => match other.strip_prefix("/services/") {
                Some(name) => Self::Service(name.to_owned()),
                None => Self::Unknown,
            },
        }
    }

    /// Value of the metric's label: the pattern, never the path.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Live => "/live",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::Services => "/services",
            Self::Service(_) => "/services/NAME",
            Self::Unknown => "unknown",
        }
    }
}

impl Site for AdminState {
    fn count(&self, path: &str) {
        cold::admin_request(Route::of(path).label());
    }

    fn lane(&self, _method: &Method, path: &str) -> Lane {
        match Route::of(path) {
            Route::Live => Lane::Instant,
            Route::Index
            | Route::Ready
            | Route::Metrics
            | Route::Services
            | Route::Service(_)
            | Route::Unknown => Lane::Rendering,
        }
    }

    fn page(&self, asked: &Asked) -> Answer {
        answer(self, asked)
    }
}

/// The answer, or its beginning. Takes up to some tens of milliseconds with ten thousand backends.
pub(super) fn answer(state: &AdminState, asked: &Asked) -> Answer {
    if !asked.only_reads() {
        return not_allowed(asked, "GET, HEAD");
    }
    match &Route::of(asked.path()) {
        Route::Index => index_page(state, asked.form(Form::Text)),
        Route::Live => plain(StatusCode::OK, "ok\n"),
        Route::Ready => ready(state, asked.form(Form::Text)),
        Route::Metrics => in_pieces(render::CONTENT_TYPE, Box::new(metrics::page(state))),
        Route::Services => list(state, asked.form(Form::Json)),
        Route::Service(name) => one(state, name, asked.form(Form::Json)),
        Route::Unknown => {
            plain(StatusCode::NOT_FOUND, format!("no such path; there are {PATHS}\n"))
        }
    }
}

/// What keeps the process from being ready, one line each.
pub(super) fn missing(state: &AdminState) -> Vec<String> {
    let latches = state.readiness.missing();
    let latches = latches.iter().map(ToString::to_string);
    let services = state.services.load();
    latches.chain(services.iter().filter_map(diagnosis::not_ready)).collect()
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    missing: Vec<String>,
    /// Served from before the start, not confirmed yet: ready, but somebody may want to know.
    stale: Vec<String>,
}

fn ready(state: &AdminState, form: Form) -> Answer {
    let missing = missing(state);
    let services = state.services.load();
    let stale: Vec<_> = services.iter().filter_map(diagnosis::not_confirmed).collect();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match form {
        Form::Json => json(status, &Ready { ready: missing.is_empty(), missing, stale }),
        Form::Text | Form::Html => {
            let headline = if missing.is_empty() { "ready" } else { "not ready" };
            let mut text = format!("{headline}\n");
            for line in missing.iter().chain(&stale) {
                text.push_str(&table::printable(line));
                text.push('\n');
            }
            plain(status, text)
        }
    }
}

fn index_page(state: &AdminState, form: Form) -> Answer {
    match form {
        Form::Html => body(StatusCode::OK, "text/html; charset=utf-8", index::html(state)),
        Form::Text | Form::Json => plain(StatusCode::OK, index::text(state)),
    }
}

fn list(state: &AdminState, form: Form) -> Answer {
    let entries = state.services.load_full();
    match form {
        Form::Text => plain(StatusCode::OK, table::services_table(&entries)),
        Form::Json | Form::Html => {
            let all: Vec<_> = entries.iter().map(services::summary).collect();
            json(StatusCode::OK, &all)
        }
    }
}

fn one(state: &AdminState, raw: &str, form: Form) -> Answer {
    let entries = state.services.load_full();
    let name = percent_decode(raw);
    let found = [name.as_str(), raw]
        .iter()
        .find_map(|name| entries.iter().find(|e| e.service.name.as_str() == *name));
    match (found, form) {
        (None, _) => unknown_service(&entries, &name),
        (Some(entry), Form::Text) => plain(StatusCode::OK, table::detail_text(entry)),
        (Some(entry), Form::Json | Form::Html) => json(StatusCode::OK, &services::detail(entry)),
    }
}

fn unknown_service(entries: &Arc<Vec<ServiceEntry>>, name: &str) -> Answer {
    let known = entries.iter().map(|entry| entry.service.name.as_str());
    let nearest: Vec<_> = nearest(known, name).into_iter().map(table::printable).collect();
    let hint = if nearest.is_empty() {
        format!("; /services lists all {}", entries.len())
    } else {
        format!("; nearest: {}", nearest.join(", "))
    };
    let name = table::printable(name);
    plain(StatusCode::NOT_FOUND, format!("no service {name:?}{hint}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_colons_and_dots_are_one_route() {
        for (path, name) in [
            ("/services/a.b:c", "a.b:c"),
            ("/services/a/b", "a/b"),
            ("/services/a%2Fb%20%c3%a4", "a/b ä"),
            ("/services/100%", "100%"),
            ("/services/%zz%4", "%zz%4"),
        ] {
            let Route::Service(raw) = Route::of(path) else {
                panic!("{path} is no service");
            };
            assert_eq!(percent_decode(&raw), name);
        }
    }
}
