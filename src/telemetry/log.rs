//! Subscriber set-up: level, text or JSON.
