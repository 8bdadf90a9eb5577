//! In-memory registry for tests and the demo.
