//! Latches that make up `/ready`.
