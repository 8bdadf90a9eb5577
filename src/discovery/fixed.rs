//! The list in the config.
