//! Stands in until the reporter for files is there.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Registration, Reporter, Wanted};
use crate::endpoint::ServiceName;
use crate::health::BoxFuture;
use crate::registry::record::NerveRecord;

/// Keeps a service's item in the file.
#[derive(Debug)]
pub struct FileReporter;

impl FileReporter {
    /// For `record` in the file at `path`.
    pub fn new(path: PathBuf, record: NerveRecord, service: ServiceName) -> Self {
        drop((path, record, service));
        Self
    }
}

impl Reporter for FileReporter {
    fn run(
        self: Box<Self>,
        _wanted: watch::Receiver<Wanted>,
        _state: watch::Sender<Registration>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move { stop.cancelled().await })
    }
}
