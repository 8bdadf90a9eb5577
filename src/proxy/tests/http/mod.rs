//! HTTP mode.

mod answers;
mod bodies;
mod clients;
mod passing;
mod retries;
mod torn;
mod versions;

const POST: &str = "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\nhi";
