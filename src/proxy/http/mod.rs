//! The HTTP engine behind one boundary.
