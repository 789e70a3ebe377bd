//! Secret bytes: on the heap at their final size, wiped when dropped, never printed.
//!
//! A moved inline array leaves copies of itself on stacks and in mailboxes; a moved pointer does not. So every secret
//! of this crate owns one heap allocation made at its final size.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret bytes of any length. Not `Clone`, not printable, compared only by those who know why.
#[derive(ZeroizeOnDrop)]
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Copies `bytes` into a fresh allocation of exactly their length. The caller still owns, and must wipe, the source.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Box::from(bytes))
    }

    /// Zero bytes to be filled in place by `fill`.
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self(vec![0; len].into_boxed_slice());
        fill(&mut secret.0);
        secret
    }

    /// `len` bytes of the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn random(len: usize) -> Result<Self, rand::rngs::SysError> {
        let mut secret = Self(vec![0; len].into_boxed_slice());
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut secret.0)?;
        Ok(secret)
    }

    /// Takes over a buffer. One that has spare capacity is copied to its exact size and wiped, so that no secret stays
    /// in a tail that nobody clears.
    #[must_use]
    pub fn from_vec(mut bytes: Vec<u8>) -> Self {
        if bytes.len() == bytes.capacity() {
            return Self(bytes.into_boxed_slice());
        }
        let secret = Self::copy_from(&bytes);
        bytes.zeroize();
        secret
    }

    /// The bytes, for those who use them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes, which is no secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}
