//! The znode record: one decoder for all formats.
