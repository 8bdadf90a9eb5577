//! Dial a backend, try the next.
