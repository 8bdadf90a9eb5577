//! Membership policy: one pure function.
