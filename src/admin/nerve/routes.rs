//! Method and path to page. Commands are in `push`.

use hyper::StatusCode;
use serde::Serialize;

use crate::admin::percent::percent_decode;
use crate::admin::site::{Answer, Asked, Form, body, json, nearest, not_allowed, plain};
use crate::admin::table::printable;
use crate::admin::when::Now;
use crate::telemetry::render;

use super::access::may_read;
use super::desk::ServiceStatus;
use super::{NerveSite, diagnosis, metrics, page, shape, table};

/// What is asked for. Names as they stand in the path.
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
    /// `/v1/services`.
    Services,
    /// `/v1/services/NAME`.
    Service(String),
    /// `/v1/services/NAME/down`.
    Down(String),
    /// `/v1/services/NAME/up`.
    Up(String),
    /// Anything else.
    Unknown,
}

/// What a 404 lists.
const PATHS: &str = "/ /live /ready /metrics /v1/services /v1/services/NAME /v1/services/NAME/down /v1/services/NAME/up";

impl Route {
    /// Finds the route of a path (without query). A `/` in a name is written `%2F`.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/" => Self::Index,
            "/live" => Self::Live,
            "/ready" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/v1/services" | "/v1/services/" => Self::Services,
            other => match other.strip_prefix("/v1/services/") {
                Some(rest) => Self::of_service(rest),
                None => Self::Unknown,
            },
        }
    }

    fn of_service(rest: &str) -> Self {
        match rest.split_once('/') {
            None => Self::Service(rest.to_owned()),
            Some((name, "down")) => Self::Down(name.to_owned()),
            Some((name, "up")) => Self::Up(name.to_owned()),
            Some(_) => Self::Unknown,
        }
    }

    /// Value of the metric's label: the pattern, never the path.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Live => "/live",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::Services => "/v1/services",
            Self::Service(_) => "/v1/services/NAME",
            Self::Down(_) => "/v1/services/NAME/down",
            Self::Up(_) => "/v1/services/NAME/up",
            Self::Unknown => "unknown",
        }
    }

    /// The methods that are answered.
    fn methods(&self) -> &'static str {
        match self {
            Self::Service(_) => "GET, HEAD, PUT, DELETE",
            Self::Down(_) | Self::Up(_) => "POST",
            Self::Index
            | Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::Services
            | Self::Unknown => "GET, HEAD",
        }
    }
}

/// The answer to what changes nothing.
pub(super) fn page(site: &NerveSite, asked: &Asked) -> Answer {
    if let Err(forbidden) = may_read(asked, site.is_local()) {
        return plain(StatusCode::FORBIDDEN, format!("{forbidden}\n"));
    }
    let route = Route::of(asked.path());
    let is_command = matches!(route, Route::Down(_) | Route::Up(_));
    if route == Route::Unknown {
        return plain(StatusCode::NOT_FOUND, format!("no such path; there are {PATHS}\n"));
    }
    if !asked.only_reads() || is_command {
        return not_allowed(asked, route.methods());
    }
    match &route {
        Route::Index => index(site, asked.form(Form::Text)),
        Route::Live => plain(StatusCode::OK, "ok\n"),
        Route::Ready => ready(site, asked.form(Form::Text)),
        Route::Metrics => {
            let text = metrics::render(&site.desk.process(), &site.desk.services(), &site.cold);
            body(StatusCode::OK, render::CONTENT_TYPE, text)
        }
        Route::Services => list(site, asked.form(Form::Json)),
        Route::Service(raw) => {
            let services = site.desk.services();
            match find(&services, raw) {
                Some(service) => one(StatusCode::OK, service, asked.form(Form::Json)),
                None => unknown_service(&services, &percent_decode(raw)),
            }
        }
        // Answered above.
        Route::Down(_) | Route::Up(_) | Route::Unknown => not_allowed(asked, route.methods()),
    }
}

/// A service by its name in a path, escaped or not.
pub(super) fn find<'s>(services: &'s [ServiceStatus], raw: &str) -> Option<&'s ServiceStatus> {
    let decoded = percent_decode(raw);
    [decoded.as_str(), raw]
        .iter()
        .find_map(|name| services.iter().find(|service| service.name.as_str() == *name))
}

/// 404, with the names that may have been meant.
pub(super) fn unknown_service(services: &[ServiceStatus], name: &str) -> Answer {
    let nearest = nearest(services.iter().map(|service| service.name.as_str()), name);
    let nearest: Vec<_> = nearest.into_iter().map(printable).collect();
    let hint = if nearest.is_empty() {
        format!("; /v1/services lists all {}", services.len())
    } else {
        format!("; nearest: {}", nearest.join(", "))
    };
    let name = printable(name);
    plain(StatusCode::NOT_FOUND, format!("no service {name:?}{hint}\n"))
}

/// One service, after a command or when it was asked for.
pub(super) fn one(status: StatusCode, service: &ServiceStatus, form: Form) -> Answer {
    let shape = shape::service(service, Now::read());
    match form {
        Form::Text => plain(status, table::detail_text(&shape)),
        Form::Json | Form::Html => json(status, &shape),
    }
}

fn index(site: &NerveSite, form: Form) -> Answer {
    let (process, services) = (site.desk.process(), site.desk.services());
    match form {
        Form::Html => page::html(&process, &services),
        Form::Text | Form::Json => plain(StatusCode::OK, page::text(&process, &services)),
    }
}

fn list(site: &NerveSite, form: Form) -> Answer {
    let now = Now::read();
    let all: Vec<_> = site.desk.services().iter().map(|s| shape::service(s, now)).collect();
    match form {
        Form::Text => plain(StatusCode::OK, table::status_table(&all)),
        Form::Json | Form::Html => json(StatusCode::OK, &all),
    }
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    missing: Vec<String>,
    /// Not as it should be for a reason that is known: ready, but somebody may want to know.
    waiting: Vec<String>,
}

fn ready(site: &NerveSite, form: Form) -> Answer {
    let mut said = diagnosis::readiness(&site.desk.process(), &site.desk.services());
    said.waiting.extend(site.admin_trouble());
    let ready = said.missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match form {
        Form::Json => json(status, &Ready { ready, missing: said.missing, waiting: said.waiting }),
        Form::Text | Form::Html => {
            let mut text = String::from(if ready { "ready\n" } else { "not ready\n" });
            for line in said.missing.iter().chain(&said.waiting) {
                text.push_str(&printable(line));
                text.push('\n');
            }
            plain(status, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_in_a_name_is_escaped_and_nothing_else_must_be() {
        for (path, route) in [
            ("/v1/services/a.b:c", Route::Service("a.b:c".into())),
            ("/v1/services/a%2Fdown", Route::Service("a%2Fdown".into())),
            ("/v1/services/a.b:c/down", Route::Down("a.b:c".into())),
            ("/v1/services/down/up", Route::Up("down".into())),
            ("/v1/services/a/b/down", Route::Unknown),
            ("/v2/services", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route);
        }
    }
}
