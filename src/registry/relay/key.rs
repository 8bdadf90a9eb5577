//! Whose session a connection carries, read and written in the handshake.
//!
//! The client crate neither shows the password of its session nor accepts one from elsewhere, but every byte passes here.
//! So the credentials are read in the server's answer to the connect request, and a client that asks for a *new* session
//! is given the one that we hold, by writing its credentials into the request. What we hold is what a server granted last;
//! first of all, what another process left to us.
//!
//! Invariant: a session that a server called expired is never asked for again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::dial::be_u32;
use crate::registry::credentials::Credentials;

/// A connect request: length, version, last zxid, timeout; then the session's id.
const REQUEST_ID_AT: usize = 20;

/// A connect answer: length, version, timeout; then the session's id (0: expired).
const ANSWER_ID_AT: usize = 12;

/// Passwords have 16 bytes; the relay takes no longer answer than this would make.
const PASSWORD_MAX_BYTES: usize = 64;

/// The session that the relay's connections carry. Written by the relay, read by everybody.
#[derive(Debug, Default)]
pub struct SessionKey {
    /// What a client without a session is given.
    held: Mutex<Option<Credentials>>,
    granted: watch::Sender<Option<Credentials>>,
}

impl SessionKey {
    /// Goes on with `heir`, if a server still knows that session.
    pub fn new(heir: Option<Credentials>) -> Self {
        let heir = heir.filter(|heir| heir.id != 0 && heir.password.len() <= PASSWORD_MAX_BYTES);
        Self { held: Mutex::new(heir), granted: watch::Sender::default() }
    }

    /// What a server granted last; `None` before that, and from the moment on in which one says that it expired.
    pub fn granted(&self) -> watch::Receiver<Option<Credentials>> {
        self.granted.subscribe()
    }

    /// Id of the session that a client without one will be given.
    pub fn held_id(&self) -> Option<i64> {
        self.held().as_ref().map(|held| held.id)
    }

    /// The next client without a session gets a new one.
    pub fn forget(&self) {
        *self.held() = None;
    }

    /// Lets a connect request for a new session ask for ours. Anything else stays as it is.
    pub(super) fn put_into(&self, request: &mut Vec<u8>) {
        let held = self.held();
        let Some(held) = held.as_ref() else {
            return;
        };
        let Some((head, rest)) = request.split_at_checked(REQUEST_ID_AT) else {
            return;
        };
        let Some(Key { id: 0, behind, .. }) = Key::read(rest) else {
            return;
        };
        let mut asking = head.to_vec();
        asking.extend(held.id.to_be_bytes());
        asking.extend(u32::try_from(held.password.len()).unwrap_or_default().to_be_bytes());
        asking.extend(&held.password);
        asking.extend(behind);
        let length = u32::try_from(asking.len().saturating_sub(4)).unwrap_or_default();
        if let Some(prefix) = asking.first_chunk_mut::<4>() {
            *prefix = length.to_be_bytes();
        }
        *request = asking;
    }

    /// Reads what a server granted.
    pub(super) fn learn_from(&self, answer: &[u8]) {
        let Some(Key { id, password, .. }) = answer.get(ANSWER_ID_AT..).and_then(Key::read) else {
            return;
        };
        let now = (id != 0).then(|| Credentials { id, password: password.to_vec() });
        self.held().clone_from(&now);
        self.granted.send_if_modified(|granted| {
            let changed = *granted != now;
            *granted = now;
            changed
        });
    }

    fn held(&self) -> MutexGuard<'_, Option<Credentials>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Id and password as both messages carry them, and what follows.
struct Key<'a> {
    id: i64,
    password: &'a [u8],
    behind: &'a [u8],
}

impl<'a> Key<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(be_u32(length)).ok()?;
        let (password, behind) = rest.split_at_checked(length)?;
        Some(Self { id: i64::from_be_bytes(*id), password, behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credentials(id: i64) -> Credentials {
        Credentials { id, password: vec![9; 16] }
    }

    fn request(id: i64, password: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend([1; 16]);
        bytes.extend(id.to_be_bytes());
        bytes.extend(u32::try_from(password.len()).unwrap().to_be_bytes());
        bytes.extend(password);
        bytes.push(0);
        let length = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    fn answer(id: i64, password: &[u8]) -> Vec<u8> {
        let mut bytes = request(id, password);
        bytes.drain(4..12);
        bytes
    }

    fn asked(key: &SessionKey, mut request: Vec<u8>) -> Vec<u8> {
        key.put_into(&mut request);
        request
    }

    #[test]
    fn a_client_without_a_session_is_given_the_one_left_to_us() {
        let fresh = request(0, &[0; 16]);
        assert_eq!(asked(&SessionKey::new(None), fresh.clone()), fresh);
        let key = SessionKey::new(Some(credentials(7)));
        assert_eq!(asked(&key, fresh.clone()), request(7, &[9; 16]));
        let other = request(8, &[1; 16]);
        assert_eq!(asked(&key, other.clone()), other, "it has a session of its own");
        let short = Credentials { id: 7, password: vec![9; 3] };
        assert_eq!(asked(&SessionKey::new(Some(short)), fresh), request(7, &[9; 3]));
    }

    #[test]
    fn what_a_server_grants_is_told_and_what_it_calls_expired_is_forgotten() {
        let key = SessionKey::new(Some(credentials(7)));
        let mut granted = key.granted();
        assert_eq!(*granted.borrow_and_update(), None, "nobody has confirmed it");
        key.learn_from(&answer(7, &[9; 16]));
        assert_eq!(*granted.borrow_and_update(), Some(credentials(7)));
        key.learn_from(&answer(7, &[9; 16]));
        assert!(!granted.has_changed().unwrap());
        key.learn_from(&answer(0, &[0; 16]));
        assert_eq!(*granted.borrow_and_update(), None);
        let fresh = request(0, &[0; 16]);
        assert_eq!(asked(&key, fresh.clone()), fresh);
        key.learn_from(&answer(8, &[9; 16]));
        assert_eq!(granted.borrow_and_update().as_ref().map(|key| key.id), Some(8));
        assert_eq!(key.held_id(), Some(8));
        key.forget();
        assert_eq!(asked(&key, fresh.clone()), fresh);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let key = SessionKey::new(Some(credentials(7)));
            asked(&key, bytes.clone());
            key.learn_from(&bytes);
        }
    }
}
