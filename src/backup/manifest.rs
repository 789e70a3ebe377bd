//! What a full backup holds, beside it in the clear: by this the node knows what has changed since, without being able to
//! read the backup.
//!
//! ```text
//! magic 17 │ format 2 │ archive 16 │ bytes of the archive's content 8 │ entry ... │ SHA-256 of all before 32
//! entry: family 1 │ SHA-256 of the record's key 32 │ version 12, ascending
//! ```
//!
//! Nothing in it is secret. Whoever changes it can make the next differential backup incomplete; that shows when this is
//! verified, since what a backup must hold is hashed in the backup itself.

use std::io::{BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::BackupError;
use super::frame::{ArchiveId, key_hash, number_of};
use super::reader::read_file;
use crate::storage::{Family, RecordVersion};

const MAGIC: &[u8; 17] = b"quorate manifest\0";
const FORMAT: u16 = 1;
const KEY_BYTES: usize = 1 + 32;
const ENTRY_BYTES: usize = KEY_BYTES + RecordVersion::BYTES;
/// The largest manifest that is read, in bytes: four million records and more.
const MAX_BYTES: usize = 256 << 20;

/// One record: its family, the hash of its key, its version.
pub(super) type Entry = [u8; ENTRY_BYTES];

/// The entry of a record.
pub(super) fn entry(family: Family, key: &[u8], version: RecordVersion) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    let parts = std::iter::once(number_of(family)).chain(key_hash(key)).chain(version.0);
    entry.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    entry
}

/// What a full backup holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The backup.
    pub archive: ArchiveId,
    /// How long it is without its encryption.
    pub bytes: u64,
    entries: Vec<Entry>,
}

/// How a record relates to a full backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// It is as it was; this is its number there.
    Same(usize),
    /// It was written anew; this is the number of what it was.
    Changed(usize),
    New,
}

impl Manifest {
    pub(super) fn new(archive: ArchiveId, bytes: u64, mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        Self { archive, bytes, entries }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What has become of a record.
    pub(super) fn since(&self, now: &Entry) -> Since {
        let key = |entry: &Entry| entry.first_chunk::<KEY_BYTES>().copied().unwrap_or([0; KEY_BYTES]);
        match self.entries.binary_search_by_key(&key(now), key) {
            Err(_) => Since::New,
            Ok(number) if self.entries.get(number) == Some(now) => Since::Same(number),
            Ok(number) => Since::Changed(number),
        }
    }

    /// The family's number and the hash of the key of a record.
    pub(super) fn name(&self, number: usize) -> Option<(u8, [u8; 32])> {
        let (family, rest) = self.entries.get(number)?.split_first()?;
        Some((*family, *rest.first_chunk::<32>()?))
    }

    /// Reads a manifest; `None` where there is none that can be used: then the next backup is a full one.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let bytes = read_file(path, MAX_BYTES).ok()?;
        let (hashed, hash) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(hashed).as_slice() != hash {
            return None;
        }
        let rest = hashed.strip_prefix(MAGIC)?.strip_prefix(&FORMAT.to_be_bytes())?;
        let (archive, rest) = rest.split_first_chunk::<16>()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        let (entries, left) = rest.as_chunks::<ENTRY_BYTES>();
        let is_sorted = entries.is_sorted_by(|a, b| a < b);
        (left.is_empty() && is_sorted).then(|| Self {
            archive: ArchiveId(*archive),
            bytes: u64::from_be_bytes(*bytes),
            entries: entries.to_vec(),
        })
    }

    /// Writes it.
    pub(super) fn write(&self, file: &mut std::fs::File, path: &Path) -> Result<(), BackupError> {
        let mut sink = Hashed { sink: BufWriter::new(file), hash: Sha256::new() };
        let written = (|| {
            sink.put(MAGIC)?;
            sink.put(&FORMAT.to_be_bytes())?;
            sink.put(&self.archive.0)?;
            sink.put(&self.bytes.to_be_bytes())?;
            self.entries.iter().try_for_each(|entry| sink.put(entry))?;
            let Hashed { sink: mut file, hash } = sink;
            file.write_all(&hash.finalize())?;
            file.flush()
        })();
        written.map_err(BackupError::writing(path))
    }
}

struct Hashed<W> {
    sink: W,
    hash: Sha256,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.sink.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let entries = [("b", 2), ("a", 1), ("c", 3)];
        let entries = entries.map(|(key, version)| entry(Family::Shares, key.as_bytes(), RecordVersion([version; 12])));
        Manifest::new(ArchiveId([7; 16]), 1234, entries.to_vec())
    }

    #[test]
    fn manifest__should_tell_same_changed_and_new() {
        let manifest = manifest();
        let since =
            |key: &str, family, version| manifest.since(&entry(family, key.as_bytes(), RecordVersion([version; 12])));
        let Since::Same(number) = since("b", Family::Shares, 2) else { panic!("it is the same") };
        assert_eq!(since("b", Family::Shares, 9), Since::Changed(number));
        assert_eq!(manifest.name(number), Some((number_of(Family::Shares), key_hash(b"b"))));
        assert_eq!(since("d", Family::Shares, 2), Since::New);
        assert_eq!(since("b", Family::Bans, 2), Since::New);
        assert_eq!(manifest.name(3), None);
    }

    #[test]
    fn manifest__should_be_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        manifest().write(&mut std::fs::File::create(&path).unwrap(), &path).unwrap();
        assert_eq!(Manifest::load(&path), Some(manifest()));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            std::fs::write(&path, &altered).unwrap();
            assert_eq!(Manifest::load(&path), None, "byte {at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert_eq!(Manifest::load(&path), None, "cut at {at}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Manifest::load(&path), None);
    }
}
