//! The seals of a store: one per family, and of two store keys while one takes the place of the other.

use std::sync::{Arc, PoisonError, RwLock};

use super::seal::{Seal, Slot};
use super::{Family, ShownKey, StorageError};
use crate::secret::SecretBytes;

/// The seals that a store has now. They change while it is read, when a store key takes the place of another.
pub(super) struct CurrentSeals(RwLock<Arc<Seals>>);

impl CurrentSeals {
    pub(super) fn new(seals: Seals) -> Self {
        Self(RwLock::new(Arc::new(seals)))
    }

    /// The seals as they are now, for whoever writes: only he changes them.
    pub(super) fn now(&self) -> Arc<Seals> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has rows looked up, as of one moment, and gives the seals that open them, whatever is sealed anew meanwhile.
    pub(super) fn with<T>(&self, look_up: impl FnOnce() -> T) -> (T, Arc<Seals>) {
        let seals = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (look_up(), Arc::clone(&seals))
    }

    /// Puts other seals in their place. All that is stored can be opened with either.
    pub(super) fn replace(&self, seals: Seals) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(seals);
    }
}

/// Seals with the present store key, and opens what it or the former one sealed.
pub(super) struct Seals {
    present: Arc<FamilySeals>,
    former: Option<Arc<FamilySeals>>,
}

impl Seals {
    /// Of one store key.
    pub(super) fn new(store_key: &SecretBytes, slot: Slot) -> Result<Self, StorageError> {
        Ok(Self { present: Arc::new(FamilySeals::new(store_key, slot)?), former: None })
    }

    /// The same, with another key in the place of this one from now on.
    pub(super) fn followed_by(&self, store_key: &SecretBytes, slot: Slot) -> Result<Self, StorageError> {
        let present = Arc::new(FamilySeals::new(store_key, slot)?);
        Ok(Self { present, former: Some(Arc::clone(&self.present)) })
    }

    /// The same without the former key.
    pub(super) fn alone(&self) -> Self {
        Self { present: Arc::clone(&self.present), former: None }
    }

    /// What seals records of a family.
    pub(super) fn of(&self, family: Family) -> &Seal {
        self.present.of(family)
    }

    /// Whether another key is about to be let go.
    pub(super) const fn has_former(&self) -> bool {
        self.former.is_some()
    }

    /// Whether the present key sealed this.
    pub(super) fn is_present(&self, family: Family, sealed: &[u8]) -> bool {
        self.present.of(family).is_of(sealed)
    }

    /// Opens a record that either key sealed.
    pub(super) fn open(&self, family: Family, key: &[u8], sealed: &[u8]) -> Result<SecretBytes, StorageError> {
        let seals = std::iter::once(&self.present).chain(&self.former).map(|seals| seals.of(family));
        let seal = seals.into_iter().find(|seal| seal.is_of(sealed));
        let seal = seal.ok_or_else(|| StorageError::Damaged { family, key: ShownKey::of(key) })?;
        seal.open(key, sealed)
    }
}

/// The seal of each family.
struct FamilySeals {
    shares: Seal,
    pairs: Seal,
    wallets: Seal,
    results: Seal,
    audit: Seal,
    bans: Seal,
    meta: Seal,
}

impl FamilySeals {
    fn new(store_key: &SecretBytes, slot: Slot) -> Result<Self, StorageError> {
        let seal = |family| Seal::new(family, store_key, slot);
        Ok(Self {
            shares: seal(Family::Shares)?,
            pairs: seal(Family::Pairs)?,
            wallets: seal(Family::Wallets)?,
            results: seal(Family::Results)?,
            audit: seal(Family::Audit)?,
            bans: seal(Family::Bans)?,
            meta: seal(Family::Meta)?,
        })
    }

    const fn of(&self, family: Family) -> &Seal {
        match family {
            Family::Shares => &self.shares,
            Family::Pairs => &self.pairs,
            Family::Wallets => &self.wallets,
            Family::Results => &self.results,
            Family::Audit => &self.audit,
            Family::Bans => &self.bans,
            Family::Meta => &self.meta,
        }
    }
}
