//! Results to verdict: pure.
