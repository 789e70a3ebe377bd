//! The node's identity key.

use std::fmt;

use ed25519_dalek::SigningKey;

/// The Ed25519 key that a node is known by. It stays where it was put, is wiped when dropped and never printed.
pub struct IdentityKey(Box<SigningKey>);

impl IdentityKey {
    /// Takes a key from the heap place it was made in.
    #[must_use]
    pub fn new(key: Box<SigningKey>) -> Self {
        Self(key)
    }

    /// The key, for those who sign with it.
    #[must_use]
    pub fn expose(&self) -> &SigningKey {
        &self.0
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", hex::encode(self.0.verifying_key().as_bytes()))
    }
}
