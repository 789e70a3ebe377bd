//! What is written together: records, deletions, and the conditions under which they are.

use sha2::{Digest, Sha256};

use super::{Family, StorageError};
use crate::secret::SecretBytes;

/// The longest key of a record, in bytes. The shortest has one byte.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest value of a record, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most records and deletions, and the most conditions, of one batch.
pub const MAX_BATCH_RECORDS: usize = 256;
/// The most bytes of one batch, keys and values together.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// Whether a write must survive a loss of power before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged when the disk has it (fsync).
    Synced,
    /// Acknowledged when the operating system has it: survives the process, not the machine.
    Buffered,
}

/// What must be true of a stored record.
#[derive(Debug)]
pub(super) enum Requirement {
    Absent,
    Present,
    /// Present, with a value of this SHA-256.
    Hash([u8; 32]),
}

impl Requirement {
    /// Whether it holds for what is stored.
    pub(super) fn holds(&self, stored: Option<&SecretBytes>) -> bool {
        match (self, stored) {
            (Self::Absent, stored) => stored.is_none(),
            (Self::Present, stored) => stored.is_some(),
            (Self::Hash(expected), Some(value)) => Sha256::digest(value.expose()).as_slice() == expected,
            (Self::Hash(_), None) => false,
        }
    }
}

/// A requirement and the record it is on.
#[derive(Debug)]
pub(super) struct Condition {
    pub family: Family,
    pub key: Vec<u8>,
    pub requirement: Requirement,
}

/// A record to put (`Some`) or to delete (`None`).
#[derive(Debug)]
pub(super) struct Operation {
    pub family: Family,
    pub key: Vec<u8>,
    pub value: Option<SecretBytes>,
}

/// Records and deletions over any families that are written together or not at all.
///
/// Conditions are evaluated at the moment of the write, in the order of all writes, so that of several batches that
/// require the same record to be absent and put it, exactly one is written. Later operations of a batch win over
/// earlier ones on the same record.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) conditions: Vec<Condition>,
    pub(super) operations: Vec<Operation>,
}

impl Batch {
    /// A batch that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a record: a key of 1 to 512 bytes, a value of at most 1 MiB, sealed when it is written.
    #[must_use]
    pub fn put(mut self, family: Family, key: impl Into<Vec<u8>>, value: SecretBytes) -> Self {
        self.operations.push(Operation { family, key: key.into(), value: Some(value) });
        self
    }

    /// Deletes a record, if it is there.
    #[must_use]
    pub fn delete(mut self, family: Family, key: impl Into<Vec<u8>>) -> Self {
        self.operations.push(Operation { family, key: key.into(), value: None });
        self
    }

    /// Writes only if the record is not there.
    #[must_use]
    pub fn require_absent(self, family: Family, key: impl Into<Vec<u8>>) -> Self {
        self.require(family, key.into(), Requirement::Absent)
    }

    /// Writes only if the record is there.
    #[must_use]
    pub fn require_present(self, family: Family, key: impl Into<Vec<u8>>) -> Self {
        self.require(family, key.into(), Requirement::Present)
    }

    /// Writes only if the record is there and the SHA-256 of its value is `sha256`.
    #[must_use]
    pub fn require_hash(self, family: Family, key: impl Into<Vec<u8>>, sha256: [u8; 32]) -> Self {
        self.require(family, key.into(), Requirement::Hash(sha256))
    }

    fn require(mut self, family: Family, key: Vec<u8>, requirement: Requirement) -> Self {
        self.conditions.push(Condition { family, key, requirement });
        self
    }

    /// Whether the batch changes a record of the family.
    #[must_use]
    pub fn touches(&self, family: Family) -> bool {
        self.operations.iter().any(|operation| operation.family == family)
    }

    /// The bytes of its keys and values together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let operations = self
            .operations
            .iter()
            .map(|operation| operation.key.len().saturating_add(operation.value.as_ref().map_or(0, SecretBytes::len)));
        let conditions = self.conditions.iter().map(|condition| condition.key.len());
        operations.chain(conditions).fold(0, usize::saturating_add)
    }

    /// Checks every limit: the half of the pair of checks that stands before the write.
    pub(super) fn check_limits(&self) -> Result<(), StorageError> {
        let keys = self.operations.iter().map(|operation| &operation.key);
        for key in keys.chain(self.conditions.iter().map(|condition| &condition.key)) {
            check_key(key)?;
        }
        for value in self.operations.iter().filter_map(|operation| operation.value.as_ref()) {
            check("bytes of value", value.len(), MAX_VALUE_BYTES)?;
        }
        check("records", self.operations.len(), MAX_BATCH_RECORDS)?;
        check("conditions", self.conditions.len(), MAX_BATCH_RECORDS)?;
        check("bytes of batch", self.bytes(), MAX_BATCH_BYTES)
    }
}

/// Checks that a key is neither empty nor too long.
pub(super) fn check_key(key: &[u8]) -> Result<(), StorageError> {
    if key.is_empty() {
        return Err(StorageError::OutOfLimits { what: "bytes of key", len: 0, max: MAX_KEY_BYTES });
    }
    check("bytes of key", key.len(), MAX_KEY_BYTES)
}

fn check(what: &'static str, len: usize, max: usize) -> Result<(), StorageError> {
    if len > max { Err(StorageError::OutOfLimits { what, len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    fn value(len: usize) -> SecretBytes {
        SecretBytes::filled(len, |bytes| bytes.fill(7))
    }

    #[test]
    fn limits__should_hold_for_keys_values_and_batches() {
        let put = |key: usize, len: usize| Batch::new().put(Family::Meta, vec![b'k'; key], value(len)).check_limits();
        assert!(put(1, 0).is_ok());
        assert!(put(MAX_KEY_BYTES, MAX_VALUE_BYTES).is_ok());
        assert!(matches!(put(0, 1), Err(StorageError::OutOfLimits { what: "bytes of key", len: 0, .. })));
        assert!(matches!(put(513, 1), Err(StorageError::OutOfLimits { what: "bytes of key", len: 513, .. })));
        assert!(matches!(put(1, MAX_VALUE_BYTES + 1), Err(StorageError::OutOfLimits { what: "bytes of value", .. })));

        let many = |count: usize| (0..count).fold(Batch::new(), |batch, _| batch.delete(Family::Meta, *b"k"));
        assert!(many(MAX_BATCH_RECORDS).check_limits().is_ok());
        assert!(matches!(
            many(MAX_BATCH_RECORDS + 1).check_limits(),
            Err(StorageError::OutOfLimits { what: "records", len: 257, max: 256 })
        ));

        let large = (0..5).fold(Batch::new(), |batch, _| batch.put(Family::Meta, *b"k", value(MAX_VALUE_BYTES)));
        assert!(matches!(large.check_limits(), Err(StorageError::OutOfLimits { what: "bytes of batch", .. })));

        let condition = Batch::new().require_absent(Family::Meta, Vec::new());
        assert!(matches!(condition.check_limits(), Err(StorageError::OutOfLimits { len: 0, .. })));
    }

    #[test]
    fn requirements__should_hold_exactly_where_they_say() {
        let stored = SecretBytes::copy_from(b"value");
        let equal = Requirement::Hash(Sha256::digest(b"value").into());
        let other = Requirement::Hash(Sha256::digest(b"other").into());
        for (requirement, with, without) in [
            (Requirement::Absent, false, true),
            (Requirement::Present, true, false),
            (equal, true, false),
            (other, false, false),
        ] {
            assert_eq!(requirement.holds(Some(&stored)), with, "{requirement:?}");
            assert_eq!(requirement.holds(None), without, "{requirement:?}");
        }
    }
}
