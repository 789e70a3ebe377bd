//! A new store key: also where it takes the process several lives.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const RECORDS: usize = 300;

/// What a store holds.
fn content(store: &Store) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
    let mut content = BTreeMap::new();
    store
        .export()
        .each(|record| {
            content.insert((record.family, record.key.to_vec()), record.open()?.expose().to_vec());
            Ok::<_, StorageError>(())
        })
        .unwrap();
    content
}

/// Records of several families, among them one that alone is more than a step.
fn filled(folder: &Path) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
    let store = open(folder);
    for number in 0..RECORDS {
        put(&store, Family::ALL[number % 7], &format!("{number}"), &format!("value {number}"));
    }
    let large = SecretBytes::filled(MAX_VALUE_BYTES, |bytes| bytes.fill(b'x'));
    store.write(&Batch::new().put(Family::Shares, *b"large", large), Durability::Synced).unwrap();
    content(&store)
}

/// The first byte of every record as it is stored, by how often it occurs.
fn versions(folder: &Path) -> BTreeMap<u8, usize> {
    let db = raw(folder);
    let mut versions = BTreeMap::new();
    for family in Family::ALL {
        for row in db.iterator_cf(db.cf_handle(family.as_str()).unwrap(), rocksdb::IteratorMode::Start) {
            *versions.entry(row.unwrap().1[0]).or_default() += 1;
        }
    }
    versions
}

#[test]
fn rotation__should_seal_every_record_anew_and_leave_nothing_of_the_former_key() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let former = raw_get(&raw(folder.path()), "default", "header");
    let sealed = raw_get(&raw(folder.path()), "shares", "0");
    let count = open(folder.path()).rotate(&passphrase("right"), |_| true).unwrap();
    assert_eq!(count, before.len() as u64);
    assert_eq!(versions(folder.path()), [(2, before.len())].into());
    assert!(!files_hold(folder.path(), &former[former.len() - 80..]), "the former lock");
    assert!(!files_hold(folder.path(), &sealed), "what it sealed");
    assert_eq!(content(&open(folder.path())), before);
    // The keys take turns.
    open(folder.path()).rotate(&passphrase("right"), |_| true).unwrap();
    assert_eq!(versions(folder.path()), [(1, before.len())].into());
    assert_eq!(content(&open(folder.path())), before);
}

#[test]
fn rotation__should_go_on_wherever_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = filled(folder.path());
    let mut ended = 0;
    // Ends after its first step, each time anew, until there is none left.
    loop {
        let mut steps = 0;
        let mut is_done = false;
        let stop_after = |step: Rotation| {
            is_done |= step == Rotation::Done;
            steps += 1;
            steps < 2
        };
        open(folder.path()).rotate(&passphrase("right"), stop_after).unwrap();
        let store = open(folder.path());
        assert_eq!(content(&store), expected, "after {ended} ends");
        if is_done {
            break;
        }
        // Meanwhile the node runs, and its lock is changed.
        put(&store, Family::Results, &format!("between {ended}"), "x");
        expected.insert((Family::Results, format!("between {ended}").into_bytes()), b"x".to_vec());
        store.rewrap(&passphrase("right"), &passphrase("other")).unwrap();
        store.rewrap(&passphrase("other"), &passphrase("right")).unwrap();
        ended += 1;
    }
    assert!(ended > 5, "{ended}");
    assert_eq!(versions(folder.path()), [(2, expected.len())].into());
}

#[test]
fn rotation__should_need_what_unlocks_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let refused = open(folder.path()).rotate(&passphrase("wrong"), |_| true).unwrap_err();
    assert!(matches!(refused, StorageError::WrongKey), "{refused}");
    assert_eq!((versions(folder.path()), content(&open(folder.path()))), ([(1, before.len())].into(), before));
}

#[test]
fn damaged_record__should_stop_a_rotation_and_lose_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let (db, key) = (raw(folder.path()), "7");
    let mut sealed = raw_get(&db, "shares", key);
    let kept = sealed.clone();
    sealed[20] ^= 1;
    raw_put(&db, "shares", key, &sealed);
    drop(db);
    let refused = open(folder.path()).rotate(&passphrase("right"), |_| true).unwrap_err();
    assert!(matches!(refused, StorageError::Damaged { .. }), "{refused}");
    raw_put(&raw(folder.path()), "shares", key, &kept);
    open(folder.path()).rotate(&passphrase("right"), |_| true).unwrap();
    assert_eq!(content(&open(folder.path())), before);
}

#[test]
fn next_header__should_not_be_put_in_from_elsewhere() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(folder.path());
    drop(open(other.path()));
    // A second key of the same slot, of another store that the same passphrase opens.
    let foreign = raw_get(&raw(other.path()), "default", "header");
    raw_put(&raw(folder.path()), "default", "next", &foreign);
    let refused = refusal(folder.path());
    assert!(matches!(refused, StorageError::DamagedFiles { .. }), "{refused}");
}

/// The test calls itself: the process that is killed is this test, told by a variable where the store is.
#[test]
fn rotation__should_survive_the_death_of_the_process_at_any_step() {
    const FOLDER: &str = "QUORATE_TEST_FOLDER_TO_ROTATE";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let tell = |step| {
            println!("\nstep {step:?}");
            true
        };
        open(Path::new(&folder)).rotate(&passphrase("right"), tell).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    for steps in 1..=4 {
        let mut rotating = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "storage::tests::rotating::rotation__should_survive_the_death_of_the_process_at_any_step",
            ])
            .arg("--nocapture")
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(rotating.stdout.take().unwrap()).lines().map_while(Result::ok);
        let told = lines.filter(|line| line.starts_with("step ")).take(steps).count();
        assert_eq!(told, steps, "it ended by itself");
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        assert_eq!(content(&open(folder.path())), before, "killed after step {steps}");
    }
    open(folder.path()).rotate(&passphrase("right"), |_| true).unwrap();
    let versions = versions(folder.path());
    assert_eq!((versions.len(), versions.values().sum::<usize>()), (1, before.len()));
    assert_eq!(content(&open(folder.path())), before);
}
