//! Tests over the whole dialect.
