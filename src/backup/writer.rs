//! Writes an archive, frame by frame.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::frame::{Counts, End, FORMAT, FrameKind, Head, MAGIC, MAX_STATEMENT_BYTES, number_of};
use crate::secret::SecretBytes;
use crate::storage::{Family, RecordVersion};
use crate::wire::codec;

/// An archive that is being written. Without its end it is none.
pub(super) struct ArchiveWriter<W> {
    sink: W,
    hash: Sha256,
    counts: Counts,
    bytes: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub(super) fn begin(sink: W, head: &Head) -> io::Result<Self> {
        let mut writer = Self { sink, hash: Sha256::new(), counts: Counts::default(), bytes: 0 };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_be_bytes())?;
        let head = codec::encode(head, MAX_STATEMENT_BYTES).map_err(io::Error::other)?;
        writer.frame(FrameKind::Head, &[&head])?;
        Ok(writer)
    }

    /// A file that comes along. All of them come before anything else.
    pub(super) fn file(&mut self, name: &str, content: &SecretBytes) -> io::Result<()> {
        self.counts.files = self.counts.files.saturating_add(1);
        let len = u8::try_from(name.len()).map_err(io::Error::other)?;
        self.frame(FrameKind::File, &[&[len], name.as_bytes(), content.expose()])
    }

    /// A record of the base that is there no more. All of them come before the records.
    pub(super) fn gone(&mut self, family: u8, key_hash: &[u8; 32]) -> io::Result<()> {
        self.counts.gone = self.counts.gone.saturating_add(1);
        self.frame(FrameKind::Gone, &[&[family], key_hash])
    }

    /// A record.
    pub(super) fn record(
        &mut self,
        family: Family,
        version: RecordVersion,
        key: &[u8],
        value: &SecretBytes,
    ) -> io::Result<()> {
        self.counts.records = self.counts.records.saturating_add(1);
        let len = u16::try_from(key.len()).map_err(io::Error::other)?;
        let parts: [&[u8]; 5] = [&[number_of(family)], &version.0, &len.to_be_bytes(), key, value.expose()];
        self.frame(FrameKind::Record, &parts)
    }

    /// Ends the archive, with the signature that `sign` makes of its hash: gives what it was written to, and how long it is
    /// without its encryption.
    pub(super) fn end(mut self, sign: impl FnOnce(&[u8; 32]) -> [u8; 64]) -> io::Result<(W, u64)> {
        let hash = <[u8; 32]>::from(self.hash.clone().finalize());
        let end = End { counts: self.counts, hash: hash.into(), signature: sign(&hash).into() };
        let end = codec::encode(&end, MAX_STATEMENT_BYTES).map_err(io::Error::other)?;
        self.frame(FrameKind::End, &[&end])?;
        Ok((self.sink, self.bytes))
    }

    /// The half of the pair of checks that stands before the write.
    fn frame(&mut self, kind: FrameKind, parts: &[&[u8]]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        let len = u32::try_from(len).ok().filter(|_| len <= kind.max_bytes());
        let len = len.ok_or_else(|| io::Error::other("a part of the backup is too long"))?;
        self.put(&[kind as u8])?;
        self.put(&len.to_be_bytes())?;
        parts.iter().try_for_each(|part| self.put(part))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.sink.write_all(bytes)
    }
}
