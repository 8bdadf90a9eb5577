//! `discovery:` to source settings and membership policy.
