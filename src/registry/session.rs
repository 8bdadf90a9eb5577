//! One ZooKeeper session and its successors.
