//! Walks a document, collects complaints, notices unknown keys.
