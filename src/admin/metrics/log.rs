//! The access log's families.

use crate::telemetry::access;
use crate::telemetry::names;
use crate::telemetry::render::{Exposition, Labels};

/// What became of the lines of the access log.
pub(super) fn families(out: &mut Exposition) {
    out.family(&names::ACCESS_LOG_LINES).sample(&Labels::none(), access::written());
    let mut lost = out.family(&names::ACCESS_LOG_LOST);
    for loss in access::Loss::ALL {
        lost.sample(&Labels::none().with(names::REASON, loss.label()), loss.total());
    }
}
