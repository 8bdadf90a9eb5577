//! HTTP check.
