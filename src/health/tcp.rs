//! Connect check.
