//! HTTP/2 from the outside: gRPC through the binary, the protocol byte by byte, abuse, and haproxy beside it.

mod abuse;
mod beside;
mod changes;
mod ends;
mod grpc;
mod hashing;
mod hpack;
mod judge;
mod leaving;
mod origin;
mod raw;
mod rules;
mod rules_more;
mod settings;
mod stalls;
mod waits;
mod web;
