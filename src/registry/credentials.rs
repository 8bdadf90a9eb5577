//! What it takes to go on with a session in another process.

use std::fmt;

/// Id and password of a session. Whoever has them can use the session and its ephemeral nodes: a file that holds them is
/// readable for its owner only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Session id; owner of the session's ephemeral nodes.
    pub id: i64,
    /// 16 bytes, as the server chose them.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:#x})", self.id)
    }
}

/// Who remembers sessions for the next process. Called on the registry thread, before anybody can use the session: no node
/// is made that nobody remembers the owner of. May block for the time of a small write.
pub trait SessionKeeper: fmt::Debug + Send + Sync {
    /// `session` with `ensemble` is the current one from now on.
    fn keep(&self, ensemble: &str, session: &Credentials);
}
