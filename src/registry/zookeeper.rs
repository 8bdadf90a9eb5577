//! Registry over zookeeper-client.
