//! From strategy to picker.
