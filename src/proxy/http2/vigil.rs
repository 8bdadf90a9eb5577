//! Whether an HTTP/1 client stays while its request is under way.
//!
//! hyper would take the end of what a client sends for its leaving, or not look at all. What comes while an answer is owed is
//! therefore kept from it (`vetted`), and told here: a client that has finished still wants its answer, unless `option
//! abortonclose` says otherwise; one whose connection has broken does not.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::proxy::error::ProxyError;

/// What the connection and its request under way know of each other.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// A request has been handed on, and its answer has not ended.
    is_asked: Cell<bool>,
    /// Behind its answer the connection ends.
    is_last: Cell<bool>,
    end: Cell<End>,
    /// Bytes behind the request that have come.
    waiting: Cell<usize>,
    /// Who reads what comes next.
    reader: RefCell<Option<Waker>>,
}

/// How the client's side has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Finished,
    Broken,
}

impl Vigil {
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.get()
    }

    /// A request is handed on, perhaps the last.
    pub(super) fn ask(&self, is_last: bool) {
        self.is_asked.set(true);
        self.is_last.set(is_last);
        self.waiting.set(0);
    }

    /// Its answer has ended: what came meanwhile may be read. How many bytes that is.
    pub(super) fn answered(&self) -> usize {
        self.is_asked.set(false);
        self.flushed();
        self.waiting.take()
    }

    /// What has been said has gone: who reads looks again.
    pub(super) fn flushed(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// So many bytes wait behind the request, and this is who is to be told when they may be read.
    pub(super) fn wait(&self, bytes: usize, reader: &Waker) {
        self.waiting.set(bytes);
        *self.reader.borrow_mut() = Some(reader.clone());
    }

    /// The answer under way says that the connection ends behind it.
    pub(super) fn close(&self) {
        self.is_last.set(true);
    }

    /// True when nothing behind the last request is looked at any more.
    pub(super) fn is_closing(&self) -> bool {
        self.is_last.get()
    }

    /// No more comes.
    pub(super) fn finish(&self) {
        self.end.set(End::Finished);
    }

    /// The connection has broken, or has ended within a request.
    pub(super) fn break_off(&self) {
        self.end.set(End::Broken);
    }

    /// True when no more comes, for whatever reason.
    pub(super) fn has_ended(&self) -> bool {
        self.end.get() != End::Open
    }

    /// True when the connection has broken, or has ended within a request.
    pub(super) fn is_broken(&self) -> bool {
        self.end.get() == End::Broken
    }

    /// Why nobody wants the answer, if nobody does.
    pub(super) fn left(&self, abort_on_close: bool) -> Option<ProxyError> {
        match self.end.get() {
            End::Broken => Some(ProxyError::ClientAbort),
            End::Finished if abort_on_close => Some(ProxyError::GivenUp),
            End::Open | End::Finished => None,
        }
    }
}
