//! Child names: path-encoded records, sequence numbers.
