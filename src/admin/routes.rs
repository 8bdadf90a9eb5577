//! Method and path to answer.
