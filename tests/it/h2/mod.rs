//! HTTP/2 from the outside: gRPC through the binary, the protocol byte by byte, abuse, and haproxy beside it.

mod abuse;
mod beside;
mod ends;
mod grpc;
mod origin;
mod raw;
mod rules;
mod stalls;
mod waits;
