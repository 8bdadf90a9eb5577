//! `nerve` as its users meet it: config in, znodes out.

mod lifecycle;
mod shapes;
