//! What can go wrong and what the client sees.
