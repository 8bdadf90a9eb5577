//! TCP forwarding.
