//! A small hyper server on the control thread.
