//! HTTP/1.x.
pub(crate) mod pool;
use super::accept::Accepted;
use super::local::Local;
use std::rc::Rc;
pub(crate) async fn serve(_local: Rc<Local>, _accepted: Accepted) {}
