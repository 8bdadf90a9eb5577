//! `backend_order`, Ruby's shuffle included.
