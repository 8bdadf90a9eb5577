//! A file of records.
