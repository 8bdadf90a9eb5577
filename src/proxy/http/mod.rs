//! HTTP/1.x.
pub(crate) mod pool;
use std::rc::Rc;
use super::accept::Accepted;
use super::local::Local;
pub(crate) async fn serve(_local: Rc<Local>, _accepted: Accepted) {}
