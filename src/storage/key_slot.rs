//! Where the secret that unlocks a store waits for the next life of the storage actor.

use std::sync::{Arc, Mutex, PoisonError};

use super::{KeySource, StorageError};

/// Holds the secret, or none while the store is sealed. Clones share it.
#[derive(Clone, Default)]
pub struct KeySlot(Arc<Mutex<Option<Arc<KeySource>>>>);

impl KeySlot {
    /// From now on, this secret unlocks the store.
    pub fn put(&self, key: KeySource) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
    }

    /// From now on, this secret unlocks the store, unless the former one was forgotten meanwhile: a store that is sealed
    /// leaves none behind.
    pub(super) fn replace(&self, key: KeySource) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            *slot = Some(Arc::new(key));
        }
    }

    /// Forgets the secret: it is wiped once nobody unlocks anything with it any more.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The secret.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn get(&self) -> Result<Arc<KeySource>, StorageError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StorageError::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    fn key(byte: u8) -> KeySource {
        KeySource::key(SecretBytes::filled(32, |key| key.fill(byte))).unwrap()
    }

    #[test]
    fn slot__should_stay_empty_when_its_secret_is_replaced_too_late() {
        let slot = KeySlot::default();
        slot.put(key(1));
        slot.replace(key(2));
        assert!(!slot.is_empty());
        slot.clear();
        slot.replace(key(3));
        assert!(slot.is_empty());
        assert!(matches!(slot.get(), Err(StorageError::Sealed)));
    }
}
