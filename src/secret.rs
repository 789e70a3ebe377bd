//! Secret bytes: on the heap at their final size, wiped when dropped, never printed.
//!
//! A moved inline array leaves copies of itself on stacks and in mailboxes; a moved pointer does not. So every secret
//! of this crate owns one heap allocation made at its final size.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// Secret bytes of any length. Not `Clone`, not printable, compared only by those who know why.
#[derive(ZeroizeOnDrop)]
pub struct SecretBytes(Box<[u8]>);

/// Bytes on their way, some of which are secret: messages of the protocols, and what links make of them. As long as it was
/// made, or shorter: it never grows, so that it leaves no former self behind. Not printable.
///
/// All of the allocation is wiped when it is dropped, as a whole: messages are tens of kilobytes long, and to clear them
/// byte by byte, as `Zeroizing<Vec<u8>>` does, takes as long as to encrypt them.
#[derive(Clone)]
pub struct SecretBuffer(Vec<u8>);

impl SecretBuffer {
    /// `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// Keeps the first `len` bytes, where there are more. The others are wiped with them.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Makes all of the allocation zero bytes.
    fn overwrite(&mut self) {
        self.0.fill(0);
        // Up to its capacity a vector does not move.
        self.0.resize(self.0.capacity(), 0);
        // The compiler takes it that somebody reads what is there now.
        optimization_barrier(self.0.as_slice());
    }
}

impl From<Vec<u8>> for SecretBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for SecretBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for SecretBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Zeroize for SecretBuffer {
    fn zeroize(&mut self) {
        self.overwrite();
        self.0.clear();
    }
}

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBuffer {}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBuffer({} bytes)", self.0.len())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_buffer__should_wipe_all_of_its_allocation_where_it_is() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(&[7; 60]);
        let (place, capacity) = (bytes.as_ptr(), bytes.capacity());
        let mut buffer = SecretBuffer::from(bytes);
        buffer.truncate(20);
        buffer.overwrite();
        assert_eq!((buffer.0.as_ptr(), &buffer.0), (place, &vec![0; capacity]));
        buffer.zeroize();
        assert!(buffer.is_empty());
    }

    #[test]
    fn secret_buffer__should_not_be_printed() {
        assert_eq!(format!("{:?}", SecretBuffer::from(b"secret".to_vec())), "SecretBuffer(6 bytes)");
    }
}
