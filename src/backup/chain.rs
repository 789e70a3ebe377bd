//! Reads a backup as a whole: a full one, or a differential one with the full one below it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::frame::{File, Head, Record, StateHash, key_hash, number_of};
use super::names::base_of;
use super::reader::{ArchiveReader, Item};
use super::{BackupError, Unlock};
use crate::identity::PeerBook;

/// What a backup holds.
pub enum Entry {
    /// A file that came along.
    File(File),
    /// A record of the store.
    Record(Record),
}

type Archive = ArchiveReader<age::stream::StreamReader<std::io::BufReader<fs::File>>>;

fn open(path: &Path, unlock: &Unlock) -> Result<Archive, BackupError> {
    let file = fs::File::open(path).map_err(BackupError::reading(path))?;
    ArchiveReader::begin(unlock.unwrap(file, path)?)
}

/// A backup of which only the head has been read.
pub struct Backup<'a> {
    path: &'a Path,
    unlock: &'a Unlock,
    archive: Archive,
}

impl<'a> Backup<'a> {
    /// Opens the backup at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is no backup, is of a newer format, or does not decrypt.
    pub fn open(path: &'a Path, unlock: &'a Unlock) -> Result<Self, BackupError> {
        Ok(Self { path, unlock, archive: open(path, unlock)? })
    }

    /// What it says of itself. It has proved to be so only when all of it has been read.
    #[must_use]
    pub const fn head(&self) -> &Head {
        self.archive.head()
    }

    /// Shows the files, and then the records in the order of the store. For a differential backup, the full one must lie
    /// beside it. With a peer book, the node must have signed all of it.
    ///
    /// Only when this returns has the backup proved whole. Until then nothing that was shown can be relied on.
    ///
    /// # Errors
    /// When it was altered or misses something, the full one below it is not there, or whatever `show` returns.
    pub fn read(
        self,
        peers: Option<&PeerBook>,
        mut show: impl FnMut(Entry) -> Result<(), BackupError>,
    ) -> Result<Head, BackupError> {
        let Self { path, unlock, mut archive } = self;
        let signed = |archive: &Archive| peers.map_or(Ok(()), |peers| archive.check_author(peers));
        let head = archive.head().clone();
        let mut state = StateHash::default();
        if head.base.is_none() {
            while let Some(item) = archive.next()? {
                match item {
                    Item::File(file) => show(Entry::File(file))?,
                    Item::Record(record) => {
                        state.add(record.family, &record.key, record.version);
                        show(Entry::Record(record))?;
                    }
                    // A full archive with such a part is refused by its reader.
                    Item::Gone(..) => {}
                }
            }
            signed(&archive)?;
        } else {
            let mut merge = Merge::begin(path, unlock, archive, &head, &mut show)?;
            while let Some(record) = merge.next()? {
                state.add(record.family, &record.key, record.version);
                show(Entry::Record(record))?;
            }
            signed(&merge.newer)?;
            signed(&merge.base)?;
        }
        if state.finish() != *head.state {
            return Err(BackupError::Damaged("it does not hold all that it was made of"));
        }
        Ok(head)
    }
}

/// The records of a differential archive and its base, as one.
struct Merge {
    newer: Archive,
    base: Archive,
    next_newer: Option<Record>,
    next_base: Option<Record>,
    gone: BTreeSet<(u8, [u8; 32])>,
}

impl Merge {
    /// Reads all that stands before the records.
    fn begin(
        path: &Path,
        unlock: &Unlock,
        mut newer: Archive,
        head: &Head,
        show: &mut impl FnMut(Entry) -> Result<(), BackupError>,
    ) -> Result<Self, BackupError> {
        let base_path = base_of(path).ok_or(BackupError::Damaged("its name does not say what it rests on"))?;
        let base = open(&base_path, unlock)?;
        let is_base = base.head().base.is_none()
            && Some(base.head().archive) == head.base
            && (&base.head().cluster, base.head().node) == (&head.cluster, head.node);
        if !is_base {
            return Err(BackupError::OtherBase { path: base_path });
        }
        let mut gone = BTreeSet::new();
        let next_newer = loop {
            match newer.next()? {
                Some(Item::File(file)) => show(Entry::File(file))?,
                Some(Item::Gone(family, key)) => drop(gone.insert((family, key))),
                Some(Item::Record(record)) => break Some(record),
                None => break None,
            }
        };
        let mut merge = Self { newer, base, next_newer, next_base: None, gone };
        merge.next_base = merge.advance_base()?;
        Ok(merge)
    }

    /// The next record that the store had.
    fn next(&mut self) -> Result<Option<Record>, BackupError> {
        let place = |record: &Record| (number_of(record.family), record.key.clone());
        match (self.next_newer.as_ref().map(place), self.next_base.as_ref().map(place)) {
            (Some(newer), Some(base)) if newer == base => {
                // It was written anew.
                self.next_base = self.advance_base()?;
                self.take_newer()
            }
            (Some(newer), Some(base)) if newer < base => self.take_newer(),
            (Some(_), None) => self.take_newer(),
            (_, Some(_)) => {
                let next = self.advance_base()?;
                Ok(std::mem::replace(&mut self.next_base, next))
            }
            (None, None) => Ok(None),
        }
    }

    fn take_newer(&mut self) -> Result<Option<Record>, BackupError> {
        let next = match self.newer.next()? {
            Some(Item::Record(record)) => Some(record),
            Some(_) => return Err(BackupError::Damaged("its parts are out of order")),
            None => None,
        };
        Ok(std::mem::replace(&mut self.next_newer, next))
    }

    /// The next record of the base that is still there. Its files are older ones of the same.
    fn advance_base(&mut self) -> Result<Option<Record>, BackupError> {
        while let Some(item) = self.base.next()? {
            if let Item::Record(record) = item
                && !self.gone.contains(&(number_of(record.family), key_hash(&record.key)))
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
