//! The format of an archive, inside its encryption: what stands where, and in which order.
//!
//! ```text
//! magic 15 │ format 2 │ head │ file ... │ gone ... │ record ... │ end
//!                        └──────────── frames: kind 1 │ length 4 │ payload ────────────┘
//!
//! file    length of name 1 │ name │ content
//! gone    family 1 │ SHA-256 of key 32
//! record  family 1 │ version 12 │ length of key 2 │ key │ value
//! ```
//!
//! Numbers are big-endian; head and end are MessagePack. Gone and record frames ascend strictly by family and key. The
//! end holds counts, the SHA-256 of everything before it, and the node's signature of that; nothing follows it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};

use crate::ids::{ClusterId, NodeId, NodeName};
use crate::secret::SecretBytes;
use crate::storage::{Family, MAX_KEY_BYTES, MAX_VALUE_BYTES, RecordVersion};

/// What every archive begins with.
pub(super) const MAGIC: &[u8; 15] = b"quorate backup\0";
/// The newest format, and the only one yet.
pub(super) const FORMAT: u16 = 1;
/// The longest head, and the longest end, in bytes.
pub(super) const MAX_STATEMENT_BYTES: usize = 1024;
/// The longest name of a file, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 128;
/// The longest file, in bytes.
pub(super) const MAX_FILE_BYTES: usize = 64 * 1024;
/// The most records that a differential archive says are gone: whoever reads it holds 33 bytes for each.
pub(super) const MAX_GONE: u64 = 1 << 20;
/// What nodes sign archives for.
pub(super) const ARCHIVE_DOMAIN: &str = "quorate/backup/v1";
/// The most files.
pub(super) const MAX_FILES: u64 = 64;
/// What stands before the key of a record.
pub(super) const RECORD_HEAD_BYTES: usize = 1 + RecordVersion::BYTES + 2;

/// Names one archive: drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl std::fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The node's cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// This archive.
    pub archive: ArchiveId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The full archive that it rests on, if it is a differential one.
    pub base: Option<ArchiveId>,
    /// The hash over all versions in the store: see `StateHash`. What an archive and its base make together must have
    /// it.
    pub state: ByteArray<32>,
}

/// What an archive held, said at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub files: u64,
    pub gone: u64,
    pub records: u64,
}

/// The end of an archive.
#[derive(Serialize, Deserialize)]
pub(super) struct End {
    pub counts: Counts,
    /// SHA-256 of all bytes before the end's frame.
    pub hash: ByteArray<32>,
    /// The node's signature of these 32 bytes, in the domain of archives.
    pub signature: ByteArray<64>,
}

/// The kinds of frames, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FrameKind {
    Head = 1,
    File = 2,
    Gone = 3,
    Record = 4,
    End = 5,
}

impl FrameKind {
    pub(super) const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Head,
            2 => Self::File,
            3 => Self::Gone,
            4 => Self::Record,
            5 => Self::End,
            _ => return None,
        })
    }

    /// The longest payload.
    pub(super) const fn max_bytes(self) -> usize {
        match self {
            Self::Head | Self::End => MAX_STATEMENT_BYTES,
            Self::File => 1 + MAX_NAME_BYTES + MAX_FILE_BYTES,
            Self::Gone => 1 + 32,
            Self::Record => RECORD_HEAD_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES,
        }
    }
}

/// A record in the clear.
pub struct Record {
    /// Its family.
    pub family: Family,
    /// The write that it came from.
    pub version: RecordVersion,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: SecretBytes,
}

/// A file that came along.
pub struct File {
    /// Its name, without any folder.
    pub name: String,
    /// What is in it.
    pub content: SecretBytes,
}

/// What becomes of a family in archives: its number there never changes.
pub(super) const fn number_of(family: Family) -> u8 {
    match family {
        Family::Shares => 1,
        Family::Pairs => 2,
        Family::Wallets => 3,
        Family::Results => 4,
        Family::Audit => 5,
        Family::Bans => 6,
        Family::Meta => 7,
    }
}

/// The family with this number.
pub(super) fn family_of(number: u8) -> Option<Family> {
    Family::ALL.into_iter().find(|&family| number_of(family) == number)
}

/// How a record that is gone is named, and a record in a manifest.
pub(super) fn key_hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A hash over the family, key and version of every record of a store, in the order of [`Export`](crate::storage::Export).
#[derive(Default)]
pub(super) struct StateHash(Sha256);

impl StateHash {
    pub(super) fn add(&mut self, family: Family, key: &[u8], version: RecordVersion) {
        self.0.update([number_of(family)]);
        self.0.update((key.len() as u64).to_be_bytes());
        self.0.update(key);
        self.0.update(version.0);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Whether a name is one of a file alone: a restore must write nowhere else.
pub(super) fn is_file_name(name: &str) -> bool {
    let accepted = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(accepted)
}
