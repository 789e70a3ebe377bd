//! Reads an archive, frame by frame, and believes nothing of it before it is checked.

use std::io::{self, ErrorKind, Read};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use super::frame::{
    ARCHIVE_DOMAIN, Counts, End, FORMAT, File, FrameKind, Head, MAGIC, MAX_FILES, MAX_GONE, MAX_STATEMENT_BYTES,
    RECORD_HEAD_BYTES, Record, family_of, is_file_name, number_of,
};
use crate::identity::PeerBook;
use crate::secret::SecretBytes;
use crate::storage::{MAX_KEY_BYTES, RecordVersion};
use crate::wire::codec;

/// What stands in an archive between its head and its end.
pub(super) enum Item {
    File(File),
    /// The record with this hash of its key is there no more.
    Gone(u8, [u8; 32]),
    Record(Record),
}

/// An archive that is being read.
///
/// Everything in it has come before its end has proved it whole: whoever acts on items must undo that when an error
/// follows.
pub(super) struct ArchiveReader<R> {
    source: R,
    hash: Sha256,
    head: Head,
    counts: Counts,
    /// The kind of the last frame: kinds come in their order.
    stage: FrameKind,
    /// The last gone or record, as its place in the order.
    last: Option<(u8, Vec<u8>)>,
    /// What its end says, once that is reached.
    end: Option<End>,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads up to the head.
    pub(super) fn begin(mut source: R) -> Result<Self, BackupError> {
        let mut hash = Sha256::new();
        let mut start = [0; MAGIC.len() + 2];
        read_exact(&mut source, &mut start)?;
        hash.update(start);
        let format = start.strip_prefix(MAGIC.as_slice()).and_then(|format| <[u8; 2]>::try_from(format).ok());
        let format = u16::from_be_bytes(format.ok_or(BackupError::Damaged("it does not begin like a backup"))?);
        if format > FORMAT {
            return Err(BackupError::NewerFormat { found: format, supported: FORMAT });
        }
        let (kind, len) = frame_head(&mut source, &mut hash)?;
        if format != FORMAT || kind != FrameKind::Head {
            return Err(BackupError::Damaged("it has no head"));
        }
        let statement = take(&mut source, &mut hash, len)?;
        let head: Head = codec::decode(statement.expose(), MAX_STATEMENT_BYTES)
            .map_err(|_| BackupError::Damaged("its head does not decode"))?;
        Ok(Self { source, hash, head, counts: Counts::default(), stage: FrameKind::Head, last: None, end: None })
    }

    /// What it says of itself.
    pub(super) const fn head(&self) -> &Head {
        &self.head
    }

    /// The next item; `None` at the end, when the whole archive has proved to be as it was written.
    pub(super) fn next(&mut self) -> Result<Option<Item>, BackupError> {
        if self.stage == FrameKind::End {
            return Ok(None);
        }
        // What the end says does not include the end.
        let hash_before = self.hash.clone();
        let (kind, len) = frame_head(&mut self.source, &mut self.hash)?;
        if kind < self.stage || kind == FrameKind::Head {
            return Err(BackupError::Damaged("its parts are out of order"));
        }
        if kind != self.stage {
            self.last = None;
        }
        self.stage = kind;
        match kind {
            FrameKind::Head => Err(BackupError::Damaged("it has two heads")),
            FrameKind::File => self.file(len).map(|file| Some(Item::File(file))),
            FrameKind::Gone => self.gone(len).map(Some),
            FrameKind::Record => self.record(len).map(|record| Some(Item::Record(record))),
            FrameKind::End => self.end(len, hash_before).map(|()| None),
        }
    }

    fn file(&mut self, len: usize) -> Result<File, BackupError> {
        self.counts.files += 1;
        let mut name_len = [0];
        let rest = self.part(len, &mut name_len)?;
        let mut name = vec![0; usize::from(name_len[0])];
        let rest = self.part(rest, &mut name)?;
        let name = String::from_utf8(name).ok().filter(|name| is_file_name(name));
        let name = name.ok_or(BackupError::Damaged("a file in it has no proper name"))?;
        if self.counts.files > MAX_FILES {
            return Err(BackupError::Damaged("it holds too many files"));
        }
        Ok(File { name, content: take(&mut self.source, &mut self.hash, rest)? })
    }

    fn gone(&mut self, len: usize) -> Result<Item, BackupError> {
        self.counts.gone += 1;
        if self.counts.gone > MAX_GONE {
            return Err(BackupError::Damaged("too many records in it are gone"));
        }
        if self.head.base.is_none() {
            return Err(BackupError::Damaged("it is full, and says that records are gone"));
        }
        let (mut family, mut hash) = ([0], [0; 32]);
        let rest = self.part(len, &mut family)?;
        if self.part(rest, &mut hash)? != 0 || family_of(family[0]).is_none() {
            return Err(BackupError::Damaged("a record that is gone is not named properly"));
        }
        self.ascends(family[0], hash.to_vec())?;
        Ok(Item::Gone(family[0], hash))
    }

    fn record(&mut self, len: usize) -> Result<Record, BackupError> {
        self.counts.records += 1;
        let mut head = [0; RECORD_HEAD_BYTES];
        let rest = self.part(len, &mut head)?;
        let [family, version @ .., high, low] = head;
        let key_len = usize::from(u16::from_be_bytes([high, low]));
        if !(1..=MAX_KEY_BYTES).contains(&key_len) {
            return Err(BackupError::Damaged("a record in it has no proper key"));
        }
        let mut key = vec![0; key_len];
        let rest = self.part(rest, &mut key)?;
        let family = family_of(family).ok_or(BackupError::Damaged("a record in it is of no family"))?;
        self.ascends(number_of(family), key.clone())?;
        let value = take(&mut self.source, &mut self.hash, rest)?;
        Ok(Record { family, version: RecordVersion(version), key, value })
    }

    fn end(&mut self, len: usize, hash_before: Sha256) -> Result<(), BackupError> {
        let statement = take(&mut self.source, &mut self.hash, len)?;
        let end: End = codec::decode(statement.expose(), MAX_STATEMENT_BYTES)
            .map_err(|_| BackupError::Damaged("its end does not decode"))?;
        if end.counts != self.counts || *end.hash != hash_before.finalize().as_slice() {
            return Err(BackupError::Damaged("it is not what its end says"));
        }
        // The encryption's own end is only seen by reading on.
        if self.source.read(&mut [0]).map_err(|error| failed(&error))? > 0 {
            return Err(BackupError::Damaged("something follows its end"));
        }
        self.end = Some(end);
        Ok(())
    }

    /// Whether the node made it whose it says it is: whoever knows a recipient can encrypt to it. To be asked when all of it
    /// has been read.
    pub(super) fn check_author(&self, peers: &PeerBook) -> Result<(), BackupError> {
        let node = self.head.node;
        let is_signed = |end: &End| peers.verify(node, ARCHIVE_DOMAIN, &[&*end.hash], &end.signature).is_ok();
        if self.end.as_ref().is_some_and(is_signed) { Ok(()) } else { Err(BackupError::Author { node }) }
    }

    /// Fills `part`, of a frame of which `len` bytes are left; gives how many are left then.
    fn part(&mut self, len: usize, part: &mut [u8]) -> Result<usize, BackupError> {
        let rest = len.checked_sub(part.len()).ok_or(BackupError::Damaged("a part of it is too short"))?;
        read_exact(&mut self.source, part)?;
        self.hash.update(&*part);
        Ok(rest)
    }

    fn ascends(&mut self, family: u8, place: Vec<u8>) -> Result<(), BackupError> {
        let place = (family, place);
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(BackupError::Damaged("its records are out of order"));
        }
        self.last = Some(place);
        Ok(())
    }
}

fn frame_head(source: &mut impl Read, hash: &mut Sha256) -> Result<(FrameKind, usize), BackupError> {
    let mut head = [0; 5];
    read_exact(source, &mut head)?;
    hash.update(head);
    let [kind, len @ ..] = head;
    let kind = FrameKind::of(kind).ok_or(BackupError::Damaged("a part of it is of no kind"))?;
    let len = usize::try_from(u32::from_be_bytes(len)).ok().filter(|&len| len <= kind.max_bytes());
    Ok((kind, len.ok_or(BackupError::Damaged("a part of it is too long"))?))
}

/// The next `len` bytes, which are within their limit, in one allocation of that length.
fn take(source: &mut impl Read, hash: &mut Sha256, len: usize) -> Result<SecretBytes, BackupError> {
    let mut read = Ok(());
    let bytes = SecretBytes::filled(len, |bytes| read = read_exact(source, bytes));
    read?;
    hash.update(bytes.expose());
    Ok(bytes)
}

fn read_exact(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    source.read_exact(bytes).map_err(|error| failed(&error))
}

/// Why reading failed: the encryption reports what was altered as invalid data. Other failures are the disk's, which
/// whoever opened the file can name.
fn failed(error: &io::Error) -> BackupError {
    match error.kind() {
        ErrorKind::InvalidData => BackupError::Damaged("it does not decrypt"),
        ErrorKind::UnexpectedEof => BackupError::Damaged("it ends too early"),
        _ => BackupError::Damaged("it cannot be read to its end"),
    }
}

/// Reads a file into one allocation, which is wiped.
pub(super) fn read_file(path: &std::path::Path, max: usize) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let file = std::fs::File::open(path).map_err(BackupError::reading(path))?;
    let len = file.metadata().map_err(BackupError::reading(path))?.len();
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(max);
    // Room for one byte too many, so that the buffer never grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len.saturating_add(64)));
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(BackupError::reading(path))?;
    if bytes.len() > max {
        return Err(BackupError::Read { path: path.to_owned(), source: io::Error::other("it is too long") });
    }
    Ok(bytes)
}
