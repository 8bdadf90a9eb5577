//! Idle connections.
/// Idle.
#[derive(Debug, Default)]
pub(crate) struct Pool;
impl Pool {
    pub(crate) fn sweep(&mut self, _now: tokio::time::Instant) {}
}
