//! A new store key: also where it takes the process several lives.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::store::{HEADER_KEY, NEXT_HEADER_KEY};
use super::*;
use crate::supervision::Address;

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

/// The actor, and its address.
async fn start(folder: &Path) -> (ActorRef<StorageMsg>, JoinHandle<()>, StorageHandle) {
    let arguments = StorageArguments::new(options(folder), passphrase("right"));
    let (actor, joined) = Actor::spawn(None, StorageActor, arguments).await.unwrap();
    let handle = StorageHandle::new(Address::of(actor.clone()), StorageTimeouts::default());
    (actor, joined, handle)
}

fn value(round: usize, number: usize) -> SecretBytes {
    secret(&format!("value {round} of {number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation__should_lose_no_write_while_others_read_and_write() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let (actor, joined, handle) = start(folder.path()).await;
    let is_done = AtomicBool::new(false);
    let writing = async {
        let mut rounds = 0;
        // Every record of one family anew, again and again, a round longer than the rotation.
        while !is_done.load(Ordering::Relaxed) || rounds == 0 {
            rounds += 1;
            for number in (0..RECORDS).filter(|number| number % 7 == 3) {
                let batch = Batch::new().put(Family::ALL[3], format!("{number}"), value(rounds, number));
                handle.write(batch, Durability::Buffered).await.unwrap();
                let read = handle.get(Family::ALL[3], format!("{number}")).await.unwrap().unwrap();
                assert_eq!(read.expose(), value(rounds, number).expose());
                let other = handle.get(Family::ALL[0], "0").await.unwrap().unwrap();
                assert_eq!(other.expose(), b"value 0");
            }
        }
        rounds
    };
    let rotating = async {
        let resealed = handle.rotate(passphrase("right")).await.unwrap();
        is_done.store(true, Ordering::Relaxed);
        resealed
    };
    let (rounds, resealed) = tokio::join!(writing, rotating);
    assert!(resealed > 0 && resealed <= before.len() as u64, "{resealed}");
    handle.close().await.unwrap();
    joined.await.unwrap();
    drop(actor);
    assert_eq!(versions(folder.path()), [(2, before.len())].into());
    let mut expected = before;
    for number in (0..RECORDS).filter(|number| number % 7 == 3) {
        let key = (Family::ALL[3], format!("{number}").into_bytes());
        expected.insert(key, value(rounds, number).expose().to_vec());
    }
    assert_eq!(content(&open(folder.path())), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation__should_leave_nothing_of_the_former_key_while_the_store_is_open_and_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let former = raw_get(&raw(folder.path()), "default", "header");
    let sealed = raw_get(&raw(folder.path()), "shares", "0");
    let (_actor, joined, handle) = start(folder.path()).await;
    let (begun, has_begun) = oneshot::channel();
    let exporting = handle.export(move |export| {
        begun.send(()).unwrap();
        loop {
            if let Err(ended) = export.each(|record| record.open().map(drop)) {
                return ended;
            }
        }
    });
    let rotating = async {
        has_begun.await.unwrap();
        handle.rotate(passphrase("right")).await.unwrap()
    };
    let (ended, _) = tokio::join!(exporting, rotating);
    let ended = ended.unwrap();
    assert!(matches!(ended, StorageError::Cleared), "every record opens to the end: {ended}");
    assert!(!files_hold(folder.path(), &former[former.len() - 80..]), "the former lock");
    assert!(!files_hold(folder.path(), &sealed), "what it sealed");
    handle.close().await.unwrap();
    joined.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation__should_need_the_secret_and_keep_the_lock_while_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let (_actor, joined, handle) = start(folder.path()).await;
    // Also right after one that was refused.
    for _ in 0..50 {
        let refused = handle.rotate(passphrase("wrong")).await.unwrap_err();
        assert!(matches!(refused, StorageError::WrongKey), "{refused}");
    }
    let limit = Duration::from_secs(30);
    let (rotated, rewrapped, again) = tokio::join!(
        handle.rotate(passphrase("right")),
        handle.rewrap(passphrase("right"), passphrase("other"), limit),
        handle.rotate(passphrase("right")),
    );
    assert_eq!(rotated.unwrap(), before.len() as u64);
    assert!(matches!(rewrapped, Err(StorageError::Busy { .. })), "{rewrapped:?}");
    assert!(matches!(again, Err(StorageError::Busy { .. })), "{again:?}");
    handle.rewrap(passphrase("right"), passphrase("other"), limit).await.unwrap();
    handle.close().await.unwrap();
    joined.await.unwrap();
    assert_eq!(content(&Store::open(options(folder.path()), &passphrase("other")).unwrap()), before);
}

/// The next life. The one before may still clear the files; and a process that another test is starting holds all locks of
/// this one until it runs its program.
async fn live_again(arguments: &StorageArguments) -> (ActorRef<StorageMsg>, JoinHandle<()>) {
    let mut refused = String::new();
    for _ in 0..1_000 {
        match Actor::spawn(None, StorageActor, arguments.clone()).await {
            Ok(life) => return life,
            Err(error) => refused = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation__should_be_gone_on_with_by_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let arguments = StorageArguments::new(options(folder.path()), passphrase("right"));
    let mut lives = 0;
    loop {
        let (actor, joined) = live_again(&arguments).await;
        let handle = StorageHandle::new(Address::of(actor.clone()), StorageTimeouts::default());
        // Later in each life than in the one before.
        let ending = tokio::time::sleep(Duration::from_millis(2 * lives));
        let rotated = tokio::select! {
            rotated = handle.rotate(passphrase("right")) => Some(rotated),
            () = ending => None,
        };
        actor.kill();
        joined.await.unwrap();
        lives += 1;
        if let Some(rotated) = rotated {
            rotated.unwrap();
            break;
        }
    }
    assert!(lives > 1, "none was cut off");
    let (actor, joined) = live_again(&arguments).await;
    actor.stop(None);
    joined.await.unwrap();
    // One that was cut off after its end, while it cleared the files, was followed by another one.
    let versions = versions(folder.path());
    assert_eq!((versions.len(), versions.values().sum::<usize>()), (1, before.len()), "{versions:?}");
    assert_eq!(content(&open(folder.path())), before);
}

#[test]
fn rotation__should_not_end_where_none_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let before = filled(folder.path());
    let store = open(folder.path());
    let refused = store.end_rotation().unwrap_err();
    assert!(matches!(refused, StorageError::DamagedFiles { .. }), "{refused}");
    // As where somebody put a second header there.
    let header = store.read_header(HEADER_KEY).unwrap();
    store.write_headers(&[(NEXT_HEADER_KEY, header)]).unwrap();
    store.end_rotation().unwrap_err();
    store.write_headers(&[(NEXT_HEADER_KEY, None)]).unwrap();
    drop(store);
    assert_eq!(content(&open(folder.path())), before, "its header is still the one that locks its key");
}
