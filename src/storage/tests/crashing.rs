//! What is left of a store whose process was killed, or whose files were damaged.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

/// The write-ahead logs of a folder, or its tables: the files with this extension that hold anything.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| std::fs::metadata(path).unwrap().len() > 0)
        .collect();
    files.sort();
    files
}

/// The test calls itself: the process that is killed is this test, told by a variable where to write.
#[test]
fn acknowledged_writes__should_survive_the_death_of_the_process() {
    const FOLDER: &str = "QUORATE_TEST_FOLDER_TO_WRITE";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let store = open(Path::new(&folder));
        for number in 0.. {
            let durability = if number % 2 == 0 { Durability::Synced } else { Durability::Buffered };
            let key = format!("{number}");
            let batch =
                Batch::new().put(Family::Shares, key.clone(), secret("share")).put(Family::Wallets, key, secret("w"));
            store.write(&batch, durability).unwrap();
            println!("\nacknowledged {number}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::tests::crashing::acknowledged_writes__should_survive_the_death_of_the_process"])
        .arg("--nocapture")
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    while acknowledged < 20 {
        let line = lines.next().expect("the writer ended by itself").unwrap();
        acknowledged = line.strip_prefix("acknowledged ").map_or(acknowledged, |number| number.parse().unwrap());
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    // What it acknowledged between the last line read and its death.
    for line in lines.map_while(Result::ok) {
        acknowledged = line.strip_prefix("acknowledged ").map_or(acknowledged, |number| number.parse().unwrap());
    }

    let store = open(folder.path());
    for number in 0..=acknowledged {
        let key = format!("{number}");
        assert_eq!(get(&store, Family::Shares, &key).as_deref(), Some("share"), "{number} of {acknowledged}");
        assert_eq!(get(&store, Family::Wallets, &key).as_deref(), Some("w"), "{number} of {acknowledged}");
    }
    // One more may have reached the disk unacknowledged: then as a whole.
    let next = format!("{}", acknowledged + 1);
    assert_eq!(get(&store, Family::Shares, &next).is_some(), get(&store, Family::Wallets, &next).is_some());
}

/// On an operating system that has lost its memory: what was only buffered is gone, and nothing before it.
#[test]
fn loss_of_power__should_cost_only_what_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let store = open(folder.path());
    let write = |key: &str, durability| {
        let batch = Batch::new().put(Family::Shares, key, secret("share"));
        store.write(&batch, durability).unwrap();
        if durability == Durability::Synced {
            faults.synced(folder.path());
        }
    };
    write("1", Durability::Buffered);
    write("2", Durability::Synced);
    write("3", Durability::Buffered);
    write("4", Durability::Buffered);
    // Closing a store syncs it: this one dies.
    std::mem::forget(store);
    let left = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    faults.cut_power(left.path()).unwrap();
    let store = open(left.path());
    let there = ["1", "2", "3", "4"].map(|key| get(&store, Family::Shares, key).is_some());
    assert_eq!(there, [true, true, false, false]);
}

#[test]
fn torn_end_of_the_log__should_cost_only_what_was_torn() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for key in ["1", "2", "3"] {
        put(&store, Family::Shares, key, "share");
    }
    drop(store);
    let log = files(folder.path(), "log").pop().unwrap();
    let content = std::fs::read(&log).unwrap();
    std::fs::write(&log, &content[..content.len() - 5]).unwrap();
    let store = open(folder.path());
    assert_eq!(get(&store, Family::Shares, "1").as_deref(), Some("share"));
    assert_eq!(get(&store, Family::Shares, "2").as_deref(), Some("share"));
    assert_eq!(get(&store, Family::Shares, "3"), None);
}

#[test]
fn damage_in_the_midst_of_the_log__should_stop_the_start_rather_than_drop_records() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for key in ["1", "2", "3", "4", "5", "6"] {
        put(&store, Family::Shares, key, "share");
    }
    drop(store);
    let log = files(folder.path(), "log").pop().unwrap();
    let mut content = std::fs::read(&log).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&log, &content).unwrap();
    let refused = refusal(folder.path());
    assert!(matches!(refused, StorageError::DamagedFiles { .. }), "{refused}");
}

#[test]
fn damaged_or_missing_table__should_be_refused() {
    for missing in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        put(&open(folder.path()), Family::Shares, "key", "share");
        // Opening moves the log's records to a table.
        drop(open(folder.path()));
        for table in files(folder.path(), "sst") {
            if missing {
                std::fs::remove_file(&table).unwrap();
            } else {
                let mut content = std::fs::read(&table).unwrap();
                content[10] ^= 1;
                std::fs::write(&table, &content).unwrap();
            }
        }
        let refused = Store::open(options(folder.path()), &passphrase("right"))
            .and_then(|store| store.get(Family::Shares, b"key").map(|_| ()))
            .unwrap_err();
        assert!(matches!(refused, StorageError::DamagedFiles { .. }), "missing: {missing}: {refused}");
    }
}
