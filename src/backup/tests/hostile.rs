//! Backups that were altered, cut, put together, or made of a store that is not right.

use serde_bytes::ByteArray;

use super::super::check::Checker;
use super::super::frame::{FORMAT, FrameKind, MAGIC, MAX_GONE, Record, StateHash, number_of};
use super::super::reader::ArchiveReader;
use super::super::writer::ArchiveWriter;
use super::*;
use crate::ids::Generation;
use crate::storage::RecordVersion;
use crate::wallet::{certificate_key, share_key};

#[test]
fn any_change_to_a_file__should_be_a_typed_error() {
    let mut stage = Stage::new();
    let path = stage.back_up(Wanted::Full).unwrap().path;
    let whole = std::fs::read(&path).unwrap();
    let typed = |error: &BackupError| {
        matches!(
            error,
            BackupError::NotABackup { .. }
                | BackupError::WrongKeyKind { .. }
                | BackupError::WrongKey
                | BackupError::Damaged(_)
                | BackupError::Work(_)
        )
    };
    // Everything that is not payload, and then a byte here and there.
    let positions = (0..400).chain((400..whole.len()).step_by(1_009)).chain(whole.len() - 40..whole.len());
    for position in positions {
        let mut altered = whole.clone();
        altered[position] ^= 1;
        std::fs::write(&path, &altered).unwrap();
        let error = verify(&path, &unlock(), None).unwrap_err();
        assert!(typed(&error), "byte {position}: {error}");
        std::fs::write(&path, &whole[..position]).unwrap();
        let error = verify(&path, &unlock(), None).unwrap_err();
        assert!(typed(&error), "cut at {position}: {error}");
    }
    std::fs::write(&path, [whole.as_slice(), b"more"].concat()).unwrap();
    assert!(typed(&verify(&path, &unlock(), None).unwrap_err()));
    std::fs::write(&path, whole).unwrap();
    stage.verify(&path).unwrap();
}

/// The head of an archive of nothing.
fn head(base: Option<ArchiveId>) -> Head {
    let state = StateHash::default().finish().into();
    let (cluster, name) = ("alpha".parse().unwrap(), "node1".parse().unwrap());
    Head { cluster, node: NodeId(Uuid::from_u128(1)), name, archive: ArchiveId([3; 16]), created_ms: 1, base, state }
}

/// A frame of any content.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

fn record(family: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(key.len()).unwrap().to_be_bytes();
    frame(FrameKind::Record as u8, &[&[family][..], &[9; 12], &len, key, value].concat())
}

/// Reads an archive that begins properly and goes on so.
fn read_after_head(base: Option<ArchiveId>, rest: &[u8]) -> Result<usize, BackupError> {
    let mut bytes = Vec::new();
    let _ = ArchiveWriter::begin(&mut bytes, &head(base)).unwrap();
    read_all(&[bytes.as_slice(), rest].concat())
}

fn read_all(bytes: &[u8]) -> Result<usize, BackupError> {
    let mut archive = ArchiveReader::begin(bytes)?;
    let mut items = 0;
    while archive.next()?.is_some() {
        items += 1;
    }
    Ok(items)
}

#[test]
fn reader__should_refuse_what_no_writer_writes() {
    let shares = number_of(Family::Shares);
    let base = Some(ArchiveId([4; 16]));
    let gone = frame(FrameKind::Gone as u8, &[&[shares][..], &[7; 32]].concat());
    let file = |name: &str| {
        let len = u8::try_from(name.len()).unwrap();
        frame(FrameKind::File as u8, &[&[len][..], name.as_bytes(), b"content"].concat())
    };
    let twice = |frame: &[u8]| [frame, frame].concat();
    let long = [&[FrameKind::Record as u8][..], &u32::MAX.to_be_bytes()].concat();
    for (what, base, rest) in [
        ("no end", None, Vec::new()),
        ("a record twice", None, twice(&record(shares, b"k", b"v"))),
        ("records out of order", None, [record(shares, b"l", b"v"), record(shares, b"k", b"v")].concat()),
        ("families out of order", None, [record(3, b"k", b"v"), record(shares, b"k", b"v")].concat()),
        ("a family that is none", None, record(8, b"k", b"v")),
        ("no key", None, record(shares, b"", b"v")),
        ("a key that is too long", None, record(shares, &[b'k'; 513], b"v")),
        ("a record that is too short", None, frame(FrameKind::Record as u8, &[shares; 14])),
        ("a length beyond all limits", None, long),
        ("a value that is too long", None, record(shares, &[b'k'; 512], &vec![0; (1 << 20) + 1])),
        ("a kind that is none", None, frame(9, b"")),
        ("a second head", None, frame(FrameKind::Head as u8, b"")),
        ("gone in a full one", None, gone.clone()),
        ("gone twice", base, twice(&gone)),
        ("gone after a record", base, [record(shares, b"k", b"v"), gone].concat()),
        ("a file after a record", None, [record(shares, b"k", b"v"), file("name")].concat()),
        ("a file elsewhere", None, file("../name")),
        ("a hidden file", None, file(".name")),
        ("a file without a name", None, file("")),
        ("too many files", None, file("name").repeat(65)),
        ("an end that says something else", None, frame(FrameKind::End as u8, b"\x80")),
    ] {
        let refused = read_after_head(base, &rest);
        assert!(matches!(refused, Err(BackupError::Damaged(_))), "{what}: {refused:?}");
    }
}

#[test]
fn reader__should_take_what_the_writer_writes_and_nothing_behind_it() {
    let mut bytes = Vec::new();
    let mut archive = ArchiveWriter::begin(&mut bytes, &head(Some(ArchiveId([4; 16])))).unwrap();
    archive.file("a-name", &secret(b"content")).unwrap();
    archive.gone(1, &[1; 32]).unwrap();
    archive.record(Family::Shares, RecordVersion([1; 12]), b"k", &secret(b"")).unwrap();
    archive.record(Family::Meta, RecordVersion([2; 12]), &[b'k'; 512], &SecretBytes::filled(1 << 20, |_| {})).unwrap();
    let (_, len) = archive.end(|_| [0; 64]).unwrap();
    assert_eq!(len, bytes.len() as u64);
    assert_eq!(read_all(&bytes).unwrap(), 4);
    bytes.push(0);
    assert!(matches!(read_all(&bytes), Err(BackupError::Damaged("something follows its end"))));
}

#[test]
fn newer_format__should_be_named() {
    let newer = [MAGIC.as_slice(), &(FORMAT + 1).to_be_bytes(), b"whatever it is"].concat();
    assert!(matches!(read_all(&newer), Err(BackupError::NewerFormat { found: 2, supported: 1 })));
    assert!(matches!(read_all(b"quorate bakcup\0\0\x01 and so on"), Err(BackupError::Damaged(_))));
}

#[test]
fn archives__should_not_be_put_together_that_do_not_belong_together() {
    let mut stage = Stage::new();
    let full = stage.back_up(Wanted::Full).unwrap().path;
    stage.answer("later");
    let differential = stage.back_up(Wanted::Smaller).unwrap().path;
    let kept = std::fs::read(&full).unwrap();

    let other = stage.back_up(Wanted::Full).unwrap().path;
    std::fs::copy(&other, &full).unwrap();
    let refused = stage.verify(&differential).unwrap_err();
    assert!(matches!(refused, BackupError::OtherBase { .. }), "{refused}");
    std::fs::copy(&differential, &full).unwrap();
    let refused = stage.verify(&differential).unwrap_err();
    assert!(matches!(refused, BackupError::OtherBase { .. }), "{refused}");
    std::fs::remove_file(&full).unwrap();
    let refused = stage.verify(&differential).unwrap_err();
    assert!(matches!(refused, BackupError::Read { .. }), "{refused}");
    std::fs::write(&full, kept).unwrap();
    stage.verify(&differential).unwrap();
    let renamed = stage.path("a-name-of-its-own.age");
    std::fs::copy(&differential, &renamed).unwrap();
    assert!(matches!(stage.verify(&renamed), Err(BackupError::Damaged(_))));
}

/// Who can write to the folder, and not read backups, must not be able to have records left out unnoticed.
#[test]
fn altered_manifest__should_show_when_what_rests_on_it_is_verified() {
    use super::super::manifest::{Manifest, entry};
    let mut stage = Stage::new();
    let full = stage.back_up(Wanted::Full).unwrap().path;
    let planted = stage.plant("third");
    let manifest_path = full.with_extension("manifest");
    let manifest = Manifest::load(&manifest_path).unwrap();
    // Says that the full one has the new wallet already.
    let mut entries = Vec::new();
    stage
        .store
        .export()
        .each(|record| {
            entries.push(entry(record.family, record.key, record.version));
            Ok::<_, BackupError>(())
        })
        .unwrap();
    let lie = Manifest::new(manifest.archive, manifest.bytes, entries);
    lie.write(&mut std::fs::File::create(&manifest_path).unwrap(), &manifest_path).unwrap();
    let made = stage.back_up(Wanted::Smaller).unwrap();
    assert_eq!((made.is_full, made.records), (false, 0), "{}", planted.certificate.record().wallet);
    let refused = stage.verify(&made.path).unwrap_err();
    assert!(matches!(refused, BackupError::Damaged("it does not hold all that it was made of")), "{refused}");
}

#[test]
fn record_that_is_not_good__should_be_named() {
    let first: WalletId = "first".parse().unwrap();
    let share = share_key(&first, Scheme::Ed25519, Generation(0));
    let other = share_key(&first, Scheme::Ed25519, Generation(1));
    let stranger = share_key(&"nobody".parse().unwrap(), Scheme::Ed25519, Generation(0));
    let put = |family, key: Vec<u8>, value: &[u8]| Batch::new().put(family, key, secret(value));
    let sealed = Stage::new();
    let of_other_wallet = share_key(&"second".parse().unwrap(), Scheme::Ed25519, Generation(0));
    let of_other_wallet = sealed.store.get(Family::Shares, &of_other_wallet).unwrap().unwrap();
    let good_share = sealed.store.get(Family::Shares, &share).unwrap().unwrap();
    for (what, family, change) in [
        ("another wallet's share", Family::Shares, put(Family::Shares, share.clone(), of_other_wallet.expose())),
        ("no share", Family::Wallets, Batch::new().delete(Family::Shares, share.clone())),
        (
            "a share of another generation besides",
            Family::Shares,
            put(Family::Shares, other.clone(), good_share.expose()),
        ),
        ("a share of no wallet", Family::Shares, put(Family::Shares, stranger, good_share.expose())),
        ("a share of no kind", Family::Shares, put(Family::Shares, b"share".to_vec(), good_share.expose())),
        ("pending garbage", Family::Shares, put(Family::Shares, b"pending\0w".to_vec(), b"garbage")),
        ("a certificate that is none", Family::Wallets, put(Family::Wallets, certificate_key(&first), b"garbage")),
        ("a pair setup that is none", Family::Pairs, put(Family::Pairs, vec![2; 16], b"garbage")),
        ("a pair setup with nobody", Family::Pairs, put(Family::Pairs, vec![2; 15], b"garbage")),
        ("a ban that is none", Family::Bans, put(Family::Bans, vec![2; 16], b"garbage")),
        ("a result that is none", Family::Results, put(Family::Results, b"sign\0".to_vec(), b"garbage")),
        ("a result of no kind", Family::Results, put(Family::Results, b"else".to_vec(), b"garbage")),
        ("a note of no kind", Family::Meta, put(Family::Meta, b"note".to_vec(), b"garbage")),
    ] {
        let mut stage = Stage::new();
        stage.write(&change);
        let made = stage.back_up(Wanted::Full).unwrap();
        let refused = stage.verify(&made.path).unwrap_err();
        assert!(matches!(&refused, BackupError::Record { family: of, .. } if *of == family), "{what}: {refused}");
        let (place, key) = (stage.folder.path().join("new"), key(2));
        let target = Target { store: stage.options(&place), key: &key, files: None, aside: None, now_ms: 1 };
        assert!(restore(&made.path, &unlock(), None, target).is_err(), "{what}");
        assert!(!place.exists(), "{what}");
    }
}

#[test]
fn certificate_that_not_all_members_signed__should_show_with_a_peer_book() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let mut members: Vec<_> = stage.identities.iter().map(|identity| identity.member()).collect();
    members[2].key = NodeIdentity::generate("node3".parse().unwrap(), members[2].id).unwrap().member().key;
    let others = PeerBook::new(members).unwrap();
    let refused = verify(&made.path, &unlock(), Some(&others)).unwrap_err();
    assert!(matches!(refused, BackupError::Record { family: Family::Wallets, .. }), "{refused}");
    verify(&made.path, &unlock(), None).unwrap();
}

#[test]
fn counts__should_be_those_of_the_end() {
    // An end whose hash is right and whose counts are not.
    let mut bytes = Vec::new();
    let mut archive = ArchiveWriter::begin(&mut bytes, &head(None)).unwrap();
    archive.record(Family::Shares, RecordVersion([1; 12]), b"k", &secret(b"v")).unwrap();
    drop(archive);
    use sha2::Digest;
    let hash: ByteArray<32> = <[u8; 32]>::from(sha2::Sha256::digest(&bytes)).into();
    #[derive(serde::Serialize)]
    struct Counts(u64, u64, u64);
    #[derive(serde::Serialize)]
    struct Lie {
        counts: Counts,
        hash: ByteArray<32>,
        signature: ByteArray<64>,
    }
    for (records, good) in [(1, true), (2, false)] {
        let lie = Lie { counts: Counts(0, 0, records), hash, signature: [0; 64].into() };
        let end = crate::wire::codec::encode(&lie, 1024).unwrap();
        let whole = [bytes.as_slice(), &frame(FrameKind::End as u8, &end)].concat();
        assert_eq!(read_all(&whole).is_ok(), good, "{records}");
    }
}

#[test]
fn backup_that_somebody_else_made__should_be_refused() {
    let mut stage = Stage::new();
    stage.settings.keep = 10;
    let full = stage.back_up(Wanted::Full).unwrap().path;
    stage.answer("one");
    let differential = stage.back_up(Wanted::Smaller).unwrap().path;
    stage.verify(&differential).unwrap();
    // Of the same name and for the same node, by whoever knows what backups are encrypted with.
    let node = stage.identities[0].id();
    stage.settings.signer = Arc::clone(&stage.identities[1]);
    let forged = [stage.back_up(Wanted::Smaller).unwrap().path, stage.back_up(Wanted::Full).unwrap().path];
    for forged in &forged {
        let refused = stage.verify(forged).unwrap_err();
        assert!(matches!(refused, BackupError::Author { node: of } if of == node), "{refused}");
        assert!(matches!(stage.restore(forged).err(), Some(BackupError::Author { .. })));
        verify(forged, &unlock(), None).unwrap();
    }
    // An honest one on a base that is none.
    let [_, base] = &forged;
    stage.settings.signer = Arc::clone(&stage.identities[0]);
    stage.answer("two");
    let honest = stage.back_up(Wanted::Smaller).unwrap();
    assert!(!honest.is_full && base.exists());
    assert!(matches!(stage.verify(&honest.path), Err(BackupError::Author { .. })));
    stage.verify(&full).unwrap();
}

#[test]
fn checker__should_hold_no_more_than_a_limited_number_of_shares() {
    let share = |number: u8, bytes: usize| Record {
        family: Family::Shares,
        version: RecordVersion([9; 12]),
        key: share_key(&"w".parse().unwrap(), Scheme::Ed25519, Generation(number.into())),
        value: SecretBytes::filled(bytes, |_| {}),
    };
    let mut checker = Checker::new(&head(None), None);
    assert!(matches!(checker.take(&share(0, 8 * 1024 + 1)), Err(BackupError::Record { .. })), "too long");
    checker.take(&share(0, 8 * 1024)).unwrap();
    checker.room = 1_000;
    checker.take(&share(1, 600)).unwrap();
    assert!(matches!(checker.take(&share(2, 600)), Err(BackupError::Record { .. })), "too many");
}

#[test]
fn reader__should_not_take_note_of_more_that_is_gone_than_its_limit() {
    let mut bytes = Vec::new();
    let mut archive = ArchiveWriter::begin(&mut bytes, &head(Some(ArchiveId([4; 16])))).unwrap();
    for number in 0..=MAX_GONE {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        archive.gone(1, &hash).unwrap();
    }
    archive.end(|_| [0; 64]).unwrap();
    assert!(matches!(read_all(&bytes), Err(BackupError::Damaged("too many records in it are gone"))));
}
