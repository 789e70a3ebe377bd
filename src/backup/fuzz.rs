//! An archive as bytes that anybody may have written: whoever knows a recipient can encrypt to it.
#![expect(clippy::unwrap_used, reason = "honest archives can be written")]

use super::BackupError;
use super::check::Checker;
use super::frame::{ArchiveId, Head, StateHash, number_of};
use super::reader::{ArchiveReader, Item};
use super::writer::ArchiveWriter;
use crate::identity::PeerBook;
use crate::ids::{ClusterId, NodeId};
use crate::secret::SecretBytes;
use crate::storage::{Family, RecordVersion};

/// A full archive of these records, and a differential one that says that they are gone.
pub(crate) fn some_archives(
    cluster: &ClusterId,
    node: NodeId,
    mut records: Vec<(Family, Vec<u8>, SecretBytes)>,
) -> Vec<Vec<u8>> {
    records.sort_by_key(|(family, key, _)| (number_of(*family), key.clone()));
    let head = |base| {
        let (name, state) = ("node0".parse().unwrap(), StateHash::default().finish().into());
        Head { cluster: cluster.clone(), node, name, archive: ArchiveId([1; 16]), created_ms: 1, base, state }
    };
    let mut full = ArchiveWriter::begin(Vec::new(), &head(None)).unwrap();
    full.file("node0_private.key", &SecretBytes::copy_from(b"a key")).unwrap();
    let mut differential = ArchiveWriter::begin(Vec::new(), &head(Some(ArchiveId([2; 16])))).unwrap();
    for (number, (family, key, value)) in (0..).zip(&records) {
        full.record(*family, RecordVersion([number; 12]), key, value).unwrap();
        // One of each family: hashes of keys would have to ascend as well.
        if number == 0 || records.get(usize::from(number) - 1).is_some_and(|before| before.0 != *family) {
            differential.gone(number_of(*family), &[number; 32]).unwrap();
        }
    }
    [full, differential].map(|archive| archive.end(|_| [0; 64]).unwrap().0).into()
}

/// Whether they are an archive that holds what it should, as far as that can be seen without the one below it.
pub(crate) fn is_archive(bytes: &[u8], peers: &PeerBook) -> bool {
    let read = || -> Result<(), BackupError> {
        let mut archive = ArchiveReader::begin(bytes)?;
        let mut checker = Checker::new(archive.head(), Some(peers));
        while let Some(item) = archive.next()? {
            if let Item::Record(record) = item {
                checker.take(&record)?;
            }
        }
        checker.finish().map(drop)
    };
    read().is_ok()
}
