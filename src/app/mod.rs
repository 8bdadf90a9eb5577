//! The composition roots; nothing else may import app.
