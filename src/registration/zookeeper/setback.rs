//! Why a pass did not settle, in one line for people, and how soon the next one is worth while.

use super::super::Relation;
use super::plan::{Found, Whose};
use crate::registry::RegistryError;
use crate::registry::writer::WriteError;

/// Not settled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// The registry could not be asked, or did not answer: look again soon.
    Soon(String),
    /// Refused, and by itself that will not change: look again rarely.
    Slowly(String),
    /// Only another configuration helps.
    Never(String),
    /// The session is another one than that in whose name the pass began: what is ours is to be judged anew, at once.
    Outdated,
}

impl From<RegistryError> for Setback {
    fn from(error: RegistryError) -> Self {
        let text = one_line(&error.to_string());
        match error {
            RegistryError::Unavailable { .. } => Self::Soon(text),
            RegistryError::NotAuthorised { .. } | RegistryError::Failed { .. } => {
                Self::Slowly(text)
            }
        }
    }
}

/// A write that was not done, or may not have been.
pub(super) fn setback(error: WriteError) -> Setback {
    match error {
        WriteError::Unknown(cause) => {
            Setback::Soon(format!("outcome unknown: {}", one_line(&cause.to_string())))
        }
        WriteError::TooLarge { .. } => Setback::Never(one_line(&error.to_string())),
        WriteError::Refused(RegistryError::NotAuthorised { path }) => {
            Setback::Slowly(format!("not authorised to write {path}"))
        }
        WriteError::NotSent(cause) => Setback::Soon(one_line(&cause.to_string())),
        WriteError::Exists { .. } | WriteError::Missing { .. } | WriteError::Changed { .. } => {
            Setback::Soon(one_line(&error.to_string()))
        }
        WriteError::Refused(_) => Setback::Slowly(one_line(&error.to_string())),
    }
}

/// What became of making the parent: what is missing then is the chroot.
pub(super) fn chroot(error: WriteError) -> Setback {
    if matches!(error, WriteError::Missing { .. }) {
        return Setback::Soon(
            "the chroot of zk_hosts does not exist and cannot be made".to_owned(),
        );
    }
    setback(error)
}

/// Texts come from servers and the system too.
pub(super) fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Whose node stands in our place.
pub(super) fn blocked(found: &Found) -> String {
    let (path, owner) = (&found.path, found.node.ephemeral_owner);
    match (found.whose, owner) {
        (Whose::Of(Relation::Younger), _) => {
            format!("{path} belongs to a younger nerve of this host, session {owner:#x}")
        }
        (_, 0) => format!("{path} is a persistent node of somebody else"),
        _ => format!("{path} belongs to somebody else, session {owner:#x}"),
    }
}
