//! The seals of a store: one per family, and of two store keys while one takes the place of the other.

use super::seal::{Seal, Slot};
use super::{Family, ShownKey, StorageError};
use crate::secret::SecretBytes;

/// Seals with the present store key, and opens what it or the former one sealed.
pub(super) struct Seals {
    present: FamilySeals,
    former: Option<FamilySeals>,
}

impl Seals {
    /// Of one store key.
    pub(super) fn new(store_key: &SecretBytes, slot: Slot) -> Result<Self, StorageError> {
        Ok(Self { present: FamilySeals::new(store_key, slot)?, former: None })
    }

    /// The same, with another key in the place of this one from now on.
    pub(super) fn followed_by(self, store_key: &SecretBytes, slot: Slot) -> Result<Self, StorageError> {
        Ok(Self { present: FamilySeals::new(store_key, slot)?, former: Some(self.present) })
    }

    /// What seals records of a family.
    pub(super) const fn of(&self, family: Family) -> &Seal {
        self.present.of(family)
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
