//! Fewest in flight per weight.
