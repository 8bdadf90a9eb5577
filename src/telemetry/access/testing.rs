//! Logs and records for the tests of this module.

use std::sync::Arc;

use super::{AccessLog, Cause, Conns, Format, Http, Record, Stage, Target, Targets, Timers};

/// A log of requests with these targets.
pub(super) fn log_to(targets: Vec<Target>) -> Arc<AccessLog> {
    let place = super::Place::Stdout;
    let log = AccessLog::plain("f", Format::Http, place);
    Arc::new(AccessLog { targets: Targets::shared(targets), ..log })
}

/// A good request for `line`.
pub(super) fn request(line: &[u8]) -> Record<'_> {
    Record {
        client: Some(([10, 0, 0, 1], 4711).into()),
        socket: 1,
        local: Some(([10, 0, 0, 2], 80).into()),
        begun: 1_795_641_092_809,
        server: Some("s1"),
        timers: Timers::default(),
        bytes_out: 116,
        bytes_in: 40,
        cause: Cause::None,
        stage: Stage::Done,
        conns: Conns::default(),
        retries: 0,
        redispatched: false,
        queued: (0, 0),
        http: Some(Http {
            line: Some(line),
            status: Some(200),
            request_captures: &[],
            response_captures: &[],
            reused: false,
        }),
    }
}
