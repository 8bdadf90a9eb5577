//! The typed `proxy:` section.
