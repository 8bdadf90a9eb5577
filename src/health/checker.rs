//! The schedule of a check.
