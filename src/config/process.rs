//! Process-wide keys.
