//! haproxy's smooth weighted order.
