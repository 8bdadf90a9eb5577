//! Bytes in both directions.
