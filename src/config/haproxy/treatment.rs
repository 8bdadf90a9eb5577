//! How a service's connections are treated, of what its lines have said.

use super::draft::Draft;
use super::origins;
use crate::proxy::http2::Http2Settings;
use crate::proxy::{HttpSettings, Mode, ProxySettings, Timeouts};

/// All but the access log and what is settled when the native keys are known.
pub(super) fn proxy(draft: &Draft, mode: Mode, http2: Http2Settings) -> ProxySettings {
    let timeouts = &draft.timeouts;
    ProxySettings {
        mode,
        timeouts: Timeouts {
            connect: timeouts.connect.value,
            queue: timeouts.queue.value,
            client: timeouts.client.value,
            server: timeouts.server.value,
            http_request: timeouts.http_request.value,
            http_keep_alive: timeouts.http_keep_alive.value,
            tunnel: timeouts.tunnel.value,
            client_fin: timeouts.client_fin.value,
            server_fin: timeouts.server_fin.value,
            tarpit: timeouts.tarpit.value.or(timeouts.connect.value),
        },
        retries: draft.retries.value,
        redispatch: draft.redispatch.value,
        max_connections: draft.max_connections.value,
        max_connection_age: None,
        http: HttpSettings {
            close_mode: origins::close_mode(draft).value,
            forward_for: origins::forward_for(draft).value.clone(),
            replay_idempotent: true,
            reuse: draft.reuse.value,
            abort_on_close: draft.abort_on_close.value,
            ignore_probes: draft.ignore_probes.value,
            http2,
        },
        hash: None,
        access_log: None,
    }
}
