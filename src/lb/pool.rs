//! The pool task: the only writer of a service's snapshot.
