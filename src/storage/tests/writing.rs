//! Conditions, groups and pages.

use std::sync::{Arc, Barrier, Mutex};

use sha2::{Digest, Sha256};

use super::*;

fn put_new(key: &str, value: &str) -> Batch {
    Batch::new().require_absent(Family::Results, key).put(Family::Results, key, secret(value))
}

fn found(outcome: &Result<(), StorageError>) -> Option<String> {
    let Err(StorageError::ConditionFailed(failed)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failed.family, Family::Results);
    failed.existing.as_ref().map(|value| String::from_utf8(value.expose().to_vec()).unwrap())
}

#[test]
fn conditions__should_see_what_was_written_before_and_earlier_in_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, Family::Results, "old", "stored");
    let hash = |value: &str| <[u8; 32]>::from(Sha256::digest(value));
    let group = [
        put_new("old", "refused"),
        put_new("new", "first"),
        put_new("new", "second"),
        Batch::new().require_hash(Family::Results, "new", hash("first")).put(Family::Results, "new", secret("third")),
        Batch::new().require_hash(Family::Results, "new", hash("first")).put(Family::Results, "new", secret("no")),
        Batch::new().require_present(Family::Results, "none"),
        Batch::new().require_present(Family::Results, "old").delete(Family::Results, "old"),
        Batch::new().require_present(Family::Results, "old").put(Family::Results, "old", secret("no")),
        put_new("old", "again"),
    ];
    let outcomes = store.write_group(&group, Durability::Synced).unwrap();
    assert_eq!(found(&outcomes[0]).as_deref(), Some("stored"));
    assert!(outcomes[1].is_ok());
    assert_eq!(found(&outcomes[2]).as_deref(), Some("first"));
    assert!(outcomes[3].is_ok());
    assert_eq!(found(&outcomes[4]).as_deref(), Some("third"));
    assert_eq!(found(&outcomes[5]), None);
    assert!(outcomes[6].is_ok());
    assert_eq!(found(&outcomes[7]), None);
    assert!(outcomes[8].is_ok());
    assert_eq!(get(&store, Family::Results, "new").as_deref(), Some("third"));
    assert_eq!(get(&store, Family::Results, "old").as_deref(), Some("again"));
}

#[test]
fn batch__should_be_written_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, Family::Bans, "taken", "value");
    let both = |condition: &str| {
        Batch::new()
            .put(Family::Shares, "share", secret("share"))
            .put(Family::Wallets, "wallet", secret("wallet"))
            .delete(Family::Bans, "taken")
            .require_absent(Family::Bans, condition)
    };
    let refused = store.write(&both("taken"), Durability::Synced);
    assert!(matches!(refused, Err(StorageError::ConditionFailed(_))));
    assert_eq!(get(&store, Family::Shares, "share"), None);
    assert_eq!(get(&store, Family::Wallets, "wallet"), None);
    assert_eq!(get(&store, Family::Bans, "taken").as_deref(), Some("value"));

    store.write(&both("free"), Durability::Synced).unwrap();
    assert_eq!(get(&store, Family::Shares, "share").as_deref(), Some("share"));
    assert_eq!(get(&store, Family::Wallets, "wallet").as_deref(), Some("wallet"));
    assert_eq!(get(&store, Family::Bans, "taken"), None);
}

#[test]
fn group__should_not_be_hindered_by_a_member_that_is_out_of_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let long = SecretBytes::filled(MAX_VALUE_BYTES + 1, |_| {});
    let group = [put_new("one", "1"), Batch::new().put(Family::Results, "long", long), put_new("two", "2")];
    let outcomes = store.write_group(&group, Durability::Buffered).unwrap();
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(matches!(outcomes[1], Err(StorageError::OutOfLimits { .. })));
    assert_eq!(get(&store, Family::Results, "two").as_deref(), Some("2"));
    assert_eq!(get(&store, Family::Results, "long"), None);
    assert!(matches!(store.get(Family::Results, b""), Err(StorageError::OutOfLimits { .. })));
}

#[test]
fn condition_on_a_damaged_record__should_fail_its_batch_only() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), Family::Results, "damaged", "value");
    raw_put(&raw(folder.path()), "results", "damaged", b"not a seal");
    let store = open(folder.path());
    let group = [put_new("damaged", "no"), put_new("sound", "yes")];
    let outcomes = store.write_group(&group, Durability::Synced).unwrap();
    assert!(matches!(outcomes[0], Err(StorageError::Damaged { .. })));
    assert!(outcomes[1].is_ok());
}

#[test]
fn list__should_page_through_a_prefix_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for key in ["a", "b/", "b/1", "b/2", "b/3", "b0", "c"] {
        put(&store, Family::Wallets, key, key);
    }
    put(&store, Family::Shares, "b/9", "another family");
    let list = |prefix: &str, after: Option<&str>, limit| {
        let page = store.list(Family::Wallets, prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap();
        let keys: Vec<_> = page.records.iter().map(|record| String::from_utf8(record.key.clone()).unwrap()).collect();
        assert!(page.records.iter().all(|record| record.key == record.value.expose()));
        (keys.join(" "), page.more)
    };
    assert_eq!(list("b/", None, 10), ("b/ b/1 b/2 b/3".into(), false));
    assert_eq!(list("b/", None, 2), ("b/ b/1".into(), true));
    assert_eq!(list("b/", Some("b/1"), 2), ("b/2 b/3".into(), false));
    assert_eq!(list("b/", Some("b/15"), 2), ("b/2 b/3".into(), false));
    assert_eq!(list("b/", Some("b/3"), 2), (String::new(), false));
    assert_eq!(list("b/", Some("a"), 1), ("b/".into(), true));
    assert_eq!(list("b/", Some("c"), 1), (String::new(), false));
    assert_eq!(list("", None, usize::MAX), ("a b/ b/1 b/2 b/3 b0 c".into(), false));
    assert_eq!(list("", None, 0), ("a".into(), true));
    assert_eq!(list("nothing", None, 5), (String::new(), false));
}

#[test]
fn list__should_end_a_page_that_has_grown_large() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for key in 0..6_u8 {
        let value = SecretBytes::filled(MAX_VALUE_BYTES, |bytes| bytes.fill(key));
        store.write(&Batch::new().put(Family::Pairs, [key], value), Durability::Buffered).unwrap();
    }
    let page = store.list(Family::Pairs, b"", None, 10).unwrap();
    assert_eq!((page.records.len(), page.more), (4, true));
    let page = store.list(Family::Pairs, b"", Some(&[3]), 10).unwrap();
    assert_eq!((page.records.len(), page.more), (2, false));
    assert_eq!(page.records[1].value.expose()[0], 5);
}

#[test]
fn store__should_be_shared_between_threads() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    put(&store, Family::Pairs, "pair", "state");
    let (start, seen) = (Barrier::new(4), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                seen.lock().unwrap().push(get(&store, Family::Pairs, "pair"));
            });
        }
    });
    assert_eq!(seen.into_inner().unwrap(), vec![Some("state".to_owned()); 4]);
}
