//! Every default: unit, reason, source.
