//! Behaviour of the store and its actor, on real folders.

#![expect(non_snake_case, reason = "a test is named subject__should_claim")]

mod acting;
mod crashing;
mod opening;
mod rotating;
mod tampering;
#[cfg(target_os = "linux")]
mod wiping;
mod writing;

use std::path::Path;

use rocksdb::{DB, Options};
use uuid::Uuid;

use super::*;
use crate::ids::NodeId;

fn owner() -> Owner {
    Owner { cluster: "alpha".parse().unwrap(), node: NodeId(Uuid::from_u128(1)) }
}

fn options(folder: &Path) -> StoreOptions {
    StoreOptions { folder: folder.to_owned(), owner: owner(), argon2: Argon2Params::insecure_for_tests() }
}

fn passphrase(text: &str) -> KeySource {
    KeySource::passphrase(secret(text)).unwrap()
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

fn open(folder: &Path) -> Store {
    Store::open(options(folder), &passphrase("right")).unwrap()
}

/// Why the store does not open.
fn refusal(folder: &Path) -> StorageError {
    Store::open(options(folder), &passphrase("right")).err().expect("the store opened")
}

fn put(store: &Store, family: Family, key: &str, value: &str) {
    store.write(&Batch::new().put(family, key, secret(value)), Durability::Synced).unwrap();
}

fn get(store: &Store, family: Family, key: &str) -> Option<String> {
    let value = store.get(family, key.as_bytes()).unwrap();
    value.map(|value| String::from_utf8(value.expose().to_vec()).unwrap())
}

/// The database of a store that is closed, without any seal: what somebody sees who has the folder.
fn raw(folder: &Path) -> DB {
    let names = DB::list_cf(&Options::default(), folder).unwrap();
    DB::open_cf(&Options::default(), folder, names).unwrap()
}

fn raw_get(db: &DB, family: &str, key: &str) -> Vec<u8> {
    db.get_cf(db.cf_handle(family).unwrap(), key).unwrap().unwrap()
}

fn raw_put(db: &DB, family: &str, key: &str, value: &[u8]) {
    db.put_cf(db.cf_handle(family).unwrap(), key, value).unwrap();
}

/// Whether any file of the folder holds these bytes.
fn files_hold(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        content.windows(needle.len()).any(|window| window == needle)
    })
}
