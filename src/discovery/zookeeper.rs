//! Children of a path through the registry.
