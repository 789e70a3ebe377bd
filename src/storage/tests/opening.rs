//! Who may open a store, and what the others are told.

use std::process::Command;

use super::*;
use crate::error::Code;

#[test]
fn store__should_return_after_reopening_what_was_put() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for family in Family::ALL {
        put(&store, family, "key", &format!("value in {family}"));
    }
    put(&store, Family::Shares, "gone", "value");
    store.write(&Batch::new().delete(Family::Shares, "gone"), Durability::Synced).unwrap();
    drop(store);

    let store = open(folder.path());
    for family in Family::ALL {
        assert_eq!(get(&store, family, "key"), Some(format!("value in {family}")));
        assert_eq!(get(&store, family, "other"), None);
    }
    assert_eq!(get(&store, Family::Shares, "gone"), None);
}

#[test]
fn store__should_refuse_a_wrong_secret_and_stay_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), Family::Shares, "key", "value");
    let key = KeySource::key(SecretBytes::random(32).unwrap()).unwrap();
    let wrong = Store::open(options(folder.path()), &passphrase("wrong")).err().unwrap();
    assert!(matches!(wrong, StorageError::WrongKey), "{wrong}");
    let kind = Store::open(options(folder.path()), &key).err().unwrap();
    assert!(matches!(kind, StorageError::WrongKeyKind { .. }), "{kind}");
    assert_eq!(get(&open(folder.path()), Family::Shares, "key").as_deref(), Some("value"));
}

#[test]
fn store__should_open_with_a_raw_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = |byte| KeySource::key(SecretBytes::filled(32, |key| key.fill(byte))).unwrap();
    put(&Store::open(options(folder.path()), &key(1)).unwrap(), Family::Bans, "key", "value");
    assert_eq!(
        get(&Store::open(options(folder.path()), &key(1)).unwrap(), Family::Bans, "key").as_deref(),
        Some("value")
    );
    assert!(matches!(Store::open(options(folder.path()), &key(2)).err(), Some(StorageError::WrongKey)));
}

#[test]
fn store__should_refuse_another_owner() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let node = Owner { node: NodeId(Uuid::from_u128(2)), ..owner() };
    let cluster = Owner { cluster: "beta".parse().unwrap(), ..owner() };
    let open = |owner| Store::open(StoreOptions { owner, ..options(folder.path()) }, &passphrase("right")).err();
    assert!(matches!(open(node), Some(StorageError::OtherNode { .. })));
    assert!(matches!(open(cluster), Some(StorageError::OtherCluster { .. })));
    assert!(open(owner()).is_none());
}

#[test]
fn store__should_refuse_a_newer_format() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let db = raw(folder.path());
    let mut header = raw_get(&db, "default", "header");
    header[15] = 7;
    raw_put(&db, "default", "header", &header);
    drop(db);
    let refused = refusal(folder.path());
    assert!(matches!(refused, StorageError::NewerFormat { found: 7, supported: 1 }), "{refused}");
}

#[test]
fn store__should_refuse_a_family_that_its_format_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    raw(folder.path()).create_cf("novelties", &Options::default()).unwrap();
    let refused = refusal(folder.path());
    assert!(matches!(&refused, StorageError::DamagedFiles { problem } if problem.contains("novelties")), "{refused}");
}

#[test]
fn store__should_refuse_records_without_a_header_rather_than_make_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), Family::Shares, "key", "value");
    raw(folder.path()).delete("header").unwrap();
    let refused = refusal(folder.path());
    assert!(matches!(&refused, StorageError::DamagedFiles { problem } if problem.contains("header")), "{refused}");
}

#[test]
fn store__should_refuse_a_second_opening_in_the_same_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let refused = refusal(folder.path());
    assert!(matches!(&refused, StorageError::InUse { folder: named } if named == folder.path()), "{refused}");
    put(&first, Family::Meta, "key", "the first is not disturbed");
    drop(first);
    drop(open(folder.path()));
}

/// The test calls itself: the second process is this test, told by a variable which folder is in use.
#[test]
fn store__should_refuse_a_second_process() {
    const FOLDER: &str = "QUORATE_TEST_FOLDER_IN_USE";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let refused = refusal(Path::new(&folder));
        assert!(matches!(refused, StorageError::InUse { .. }), "{refused}");
        println!("refused: {refused}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::tests::opening::store__should_refuse_a_second_process", "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(second.status.success(), "{said}");
    assert!(said.contains("refused: failed to lock the store"), "{said}");
}

#[test]
fn store__should_say_that_its_folder_is_unusable() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = refusal(&file.join("store"));
    assert!(matches!(refused, StorageError::FolderUnusable { .. }), "{refused}");
}

#[test]
fn rewrap__should_replace_the_lock_and_keep_the_records() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let former = raw_get(&raw(folder.path()), "default", "header");
    let former_lock = &former[former.len() - 80..former.len() - 32];

    let store = open(folder.path());
    put(&store, Family::Shares, "key", "value");
    assert!(files_hold(folder.path(), former_lock), "the scan finds the lock while it is there");
    let wrong = store.rewrap(&passphrase("wrong"), &passphrase("new"));
    assert!(matches!(wrong, Err(StorageError::WrongKey)));
    store.rewrap(&passphrase("right"), &passphrase("new")).unwrap();
    put(&store, Family::Shares, "later", "value");
    drop(store);

    assert!(!files_hold(folder.path(), former_lock), "the former lock is still in the files");
    assert!(matches!(refusal(folder.path()), StorageError::WrongKey));
    let store = Store::open(options(folder.path()), &passphrase("new")).unwrap();
    assert_eq!(get(&store, Family::Shares, "key").as_deref(), Some("value"));
    assert_eq!(get(&store, Family::Shares, "later").as_deref(), Some("value"));
    let key = KeySource::key(SecretBytes::filled(32, |key| key.fill(1))).unwrap();
    store.rewrap(&passphrase("new"), &key).unwrap();
    drop(store);
    assert_eq!(
        get(&Store::open(options(folder.path()), &key).unwrap(), Family::Shares, "key").as_deref(),
        Some("value")
    );
}

#[test]
fn errors__should_have_codes_and_advice() {
    let damaged = StorageError::Damaged { family: Family::Shares, key: ShownKey::of(b"wallet/1") };
    assert_eq!(damaged.code(), Code::DataCorruption);
    assert!(damaged.to_string().contains("shares (key wallet/1)"), "{damaged}");
    assert!(damaged.advice().is_some_and(|advice| advice.contains("backup")));
    assert_eq!(StorageError::WrongKey.code(), Code::StorageRead);
    assert_eq!(StorageError::Write { problem: "x".into() }.code(), Code::StorageWrite);
    assert_eq!(StorageError::Busy { access: Access::Write }.code(), Code::ConcurrencyLimit);
    assert_eq!(StorageError::Timeout { access: Access::Read }.code(), Code::StorageRead);
    assert_eq!(StorageError::Timeout { access: Access::Write }.code(), Code::StorageWrite);
    assert!(StorageError::Unavailable { access: Access::Write }.code().is_retryable());
}

#[test]
fn shown_key__should_show_text_as_text_and_the_rest_as_hex() {
    assert_eq!(ShownKey::of(b"wallet/1:ecdsa").to_string(), "wallet/1:ecdsa");
    assert_eq!(ShownKey::of(&[0, 255]).to_string(), "0x00ff");
    assert_eq!(ShownKey::of(b"a\x1b[0m").to_string(), "0x611b5b306d");
    assert_eq!(ShownKey::of(&[b'k'; 65]).to_string(), format!("{}...", "k".repeat(64)));
}

#[test]
fn rewrap__should_clear_the_former_lock_also_while_the_store_is_read_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let former = raw_get(&raw(folder.path()), "default", "header");
    let former_lock = &former[former.len() - 80..former.len() - 32];
    let store = open(folder.path());
    put(&store, Family::Shares, "key", "value");
    let (begun, has_begun) = std::sync::mpsc::channel();
    let ended = std::thread::scope(|scope| {
        let exporting = scope.spawn(|| {
            let export = store.export();
            begun.send(()).unwrap();
            loop {
                if let Err(ended) = export.each(|_| Ok::<_, StorageError>(())) {
                    return ended;
                }
            }
        });
        has_begun.recv().unwrap();
        store.rewrap(&passphrase("right"), &passphrase("new")).unwrap();
        exporting.join().unwrap()
    });
    assert!(matches!(ended, StorageError::Cleared), "{ended}");
    assert!(store.export().each(|_| Ok::<_, StorageError>(())).is_ok(), "the next one is not disturbed");
    drop(store);
    assert!(!files_hold(folder.path(), former_lock), "the former lock is still in the files");
}

#[test]
fn purge__should_clear_what_was_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let store = open(folder.path());
    for key in ["a/1", "a/2", "b/1"] {
        put(&store, Family::Shares, key, key);
    }
    store.sync().unwrap();
    drop(store);
    let sealed = ["a/1", "b/1"].map(|key| raw_get(&raw(folder.path()), "shares", key));
    let store = open(folder.path());
    store.write(&Batch::new().delete(Family::Shares, *b"a/1"), Durability::Synced).unwrap();
    store.purge(Family::Shares, b"a/", Exporting::Spared).unwrap();
    assert_eq!(get(&store, Family::Shares, "a/2").as_deref(), Some("a/2"));
    drop(store);
    assert!(!files_hold(folder.path(), &sealed[0]), "it is still in the files");
    assert!(files_hold(folder.path(), &sealed[1]), "the scan finds what is there");
}
