//! What somebody gains who can read or write the folder: nothing but a refusal.

use super::*;

#[test]
fn records__should_be_refused_whichever_stored_byte_was_altered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, Family::Shares, "sample", "a secret share");
    drop(store);
    let stored_bytes = raw_get(&raw(folder.path()), "shares", "sample").len();

    let store = open(folder.path());
    for position in 0..stored_bytes {
        put(&store, Family::Shares, &format!("{position}"), "a secret share");
    }
    drop(store);
    let db = raw(folder.path());
    for position in 0..stored_bytes {
        let key = format!("{position}");
        let mut sealed = raw_get(&db, "shares", &key);
        sealed[position] ^= 0x10;
        raw_put(&db, "shares", &key, &sealed);
    }
    drop(db);

    let store = open(folder.path());
    for position in 0..stored_bytes {
        let key = format!("{position}");
        let refused = store.get(Family::Shares, key.as_bytes()).unwrap_err();
        assert!(
            matches!(&refused, StorageError::Damaged { family: Family::Shares, key: shown } if shown.to_string() == key),
            "byte {position}: {refused}"
        );
    }
    assert_eq!(get(&store, Family::Shares, "sample").as_deref(), Some("a secret share"));
    assert!(matches!(store.list(Family::Shares, b"", None, 1), Err(StorageError::Damaged { .. })));
}

#[test]
fn records__should_be_refused_at_another_key_or_in_another_family() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, Family::Shares, "one", "value one");
    put(&store, Family::Shares, "two", "value two");
    put(&store, Family::Wallets, "one", "value one");
    drop(store);

    let db = raw(folder.path());
    let (one, two) = (raw_get(&db, "shares", "one"), raw_get(&db, "shares", "two"));
    raw_put(&db, "shares", "one", &two);
    raw_put(&db, "shares", "two", &one);
    raw_put(&db, "wallets", "one", &one);
    raw_put(&db, "wallets", "new", &one);
    drop(db);

    let store = open(folder.path());
    for (family, key) in
        [(Family::Shares, "one"), (Family::Shares, "two"), (Family::Wallets, "one"), (Family::Wallets, "new")]
    {
        let refused = store.get(family, key.as_bytes());
        assert!(matches!(refused, Err(StorageError::Damaged { .. })), "{family}/{key}");
    }
}

#[test]
fn records__should_be_refused_from_another_store_of_the_same_owner_and_secret() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(&open(folder.path()), Family::Shares, "key", "value");
    put(&open(other.path()), Family::Shares, "key", "value");
    let foreign = raw_get(&raw(other.path()), "shares", "key");
    raw_put(&raw(folder.path()), "shares", "key", &foreign);
    assert!(matches!(open(folder.path()).get(Family::Shares, b"key"), Err(StorageError::Damaged { .. })));
}

#[test]
fn header__should_be_refused_with_any_byte_altered() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let header = raw_get(&raw(folder.path()), "default", "header");
    // One position in each part; every single byte is tried where headers are parsed.
    for position in [0, 14, 17, 20, header.len() - 90, header.len() - 60, header.len() - 40, header.len() - 1] {
        let mut altered = header.clone();
        altered[position] ^= 1;
        raw_put(&raw(folder.path()), "default", "header", &altered);
        let refused = refusal(folder.path());
        assert!(
            matches!(refused, StorageError::DamagedFiles { .. } | StorageError::NewerFormat { .. }),
            "byte {position}: {refused}"
        );
    }
    raw_put(&raw(folder.path()), "default", "header", &header);
    drop(open(folder.path()));
}

#[test]
fn files__should_hold_no_plaintext_of_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let value = "a secret that nobody may read on the disk";
    let store = open(folder.path());
    for family in Family::ALL {
        put(&store, family, "a-key-that-is-not-secret", value);
    }
    let scan = |when: &str| {
        assert!(files_hold(folder.path(), b"a-key-that-is-not-secret"), "{when}: the scan finds what is there");
        for part in value.as_bytes().windows(12) {
            assert!(!files_hold(folder.path(), part), "{when}: {:?}", String::from_utf8_lossy(part));
        }
    };
    scan("while it is in the log");
    drop(store);
    drop(open(folder.path()));
    scan("when it has moved to the tables");
}
