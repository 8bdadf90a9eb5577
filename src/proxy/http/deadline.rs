//! How long a request under way may stand still, and who is to blame then.

use super::client::{Client, Expiry};
use super::exchange::{Exchange, Phase};
use crate::proxy::millis::Millis;

impl Exchange {
    /// Whose turn it is, and until when.
    #[inline(always)]
    pub(super) fn deadline(&self, client: &Client) -> (Expiry, Millis) {
        let t = &client.settings.timeouts;
        if !self.is_flushed(client) {
            // A pipe that was just filled has not been offered yet: only what is not taken makes it wait.
            let since = client.active.max(self.down.active);
            return (Expiry::Client, since.after_or_never(t.client));
        }
        let (up, down) = (&self.up, &self.down);
        if !up.body.is_done() && !up.is_blocked && !up.is_broken {
            // Not before the backend took what had come: until then nothing was read.
            let since = client.active.max(down.active).max(up.sent_at);
            // A client that waits for the backend's word cannot be late.
            if t.client.is_some() && t.server.is_some() && self.awaits_go_ahead() {
                return (Expiry::Server, up.sent_at.after_or_never(t.server));
            }
            return Expiry::of_upload(t, since);
        }
        let since = match down.phase {
            // The head must come whole in time, as haproxy wants it: one byte now and then does not extend it. One that
            // announces another does.
            Phase::Head => up.sent_at,
            // Whatever the backend does counts: it takes the request, or goes on with the answer.
            Phase::Body => up.sent_at.max(down.active),
        };
        (Expiry::Server, since.after_or_never(t.server))
    }

    /// True while the backend owes the client a word on whether it should send its body.
    fn awaits_go_ahead(&self) -> bool {
        let (up, down) = (&self.up, &self.down);
        down.phase == Phase::Head
            && up.bytes == 0
            && down.interims == 0
            && up.head.split(|b| *b == b'\n').any(is_expectation)
    }
}

/// True for a line `Expect: …` of a head.
fn is_expectation(line: &[u8]) -> bool {
    line.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"expect:"))
}
