//! What is in the folder of backups, and what is not.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use super::*;

#[test]
fn backups__should_be_for_their_owner_only_and_leave_nothing_unfinished() {
    let mut stage = Stage::new();
    stage.back_up(Wanted::Smaller).unwrap();
    stage.back_up(Wanted::Smaller).unwrap();
    let files = stage.files();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        let mode = std::fs::metadata(stage.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let content = std::fs::read(stage.path(&files[0])).unwrap();
    assert!(content.starts_with(b"age-encryption.org/v1"));
    assert!(!content.windows(5).any(|window| window == b"first"), "no name is in the clear");
}

#[test]
fn old_backups__should_go_with_what_rests_on_them() {
    let mut stage = Stage::new();
    stage.settings.keep = 2;
    let others = ["node2-20270115T080100000Z.full.age", "node1-notes.txt", "node1-20270115T080100000Z.full.age.bak"];
    for other in others {
        std::fs::write(stage.path(other), "of somebody else").unwrap();
    }
    let first = stage.back_up(Wanted::Full).unwrap();
    let resting = stage.back_up(Wanted::Smaller).unwrap();
    assert!(!resting.is_full);
    let second = stage.back_up(Wanted::Full).unwrap();
    assert!(second.removed.is_empty());
    let third = stage.back_up(Wanted::Full).unwrap();
    assert_eq!(third.removed, [resting.path, first.path]);
    let listed = list(&stage.settings.folder, &stage.settings.name).unwrap();
    let paths: Vec<_> = listed.iter().map(|found| found.path.clone()).collect();
    assert_eq!(paths, [second.path, third.path]);
    assert_eq!(stage.files().len(), 4 + others.len(), "{:?}", stage.files());
}

#[test]
fn backup__should_be_made_also_where_an_old_one_cannot_be_removed() {
    let mut stage = Stage::new();
    stage.settings.keep = 1;
    let (old, older) = ("node1-20200202T000000000Z.full.age", "node1-20200101T000000000Z.full.age");
    std::fs::create_dir(stage.path(old)).unwrap();
    std::fs::write(stage.path(older), "old").unwrap();
    let made = stage.back_up(Wanted::Full).unwrap();
    assert!(made.warning.as_ref().is_some_and(|warning| warning.contains(old)), "{made:?}");
    stage.verify(&made.path).unwrap();
    std::fs::remove_dir(stage.path(old)).unwrap();
    let next = stage.back_up(Wanted::Smaller).unwrap();
    assert_eq!((next.is_full, next.removed, next.warning), (false, vec![stage.path(older)], None));
}

#[test]
fn next_backup__should_be_full_when_a_differential_one_is_of_little_use() {
    let mut stage = Stage::new();
    let fulls =
        |stage: &mut Stage, count| (0..count).filter(|_| stage.back_up(Wanted::Smaller).unwrap().is_full).count();
    assert_eq!(fulls(&mut stage, 26), 2, "24 rest on the first one");
    stage.write(&Batch::new().put(Family::Audit, *b"large", SecretBytes::filled(60_000, |_| {})));
    assert_eq!(fulls(&mut stage, 2), 1, "more than half has changed; then nothing");
    // Without its manifest, nothing can rest on it.
    let manifest = stage.files().into_iter().rfind(|file| file.ends_with(".manifest")).unwrap();
    std::fs::remove_file(stage.path(&manifest)).unwrap();
    assert_eq!(fulls(&mut stage, 2), 1);
}

#[test]
fn names__should_order_backups_when_the_clock_is_set_back() {
    let mut stage = Stage::new();
    let first = stage.back_up(Wanted::Full).unwrap();
    stage.now_ms = START_MS / 2;
    let second = stage.back_up(Wanted::Full).unwrap();
    let third = stage.back_up(Wanted::Smaller).unwrap();
    assert_eq!((second.made_ms, third.made_ms), (first.made_ms + 1, first.made_ms + 2));
    assert_eq!(newest(&stage.settings.folder, &stage.settings.name).unwrap().path, third.path);
}

#[test]
fn folder__should_be_there_and_be_used_by_one_at_a_time() {
    let mut stage = Stage::new();
    let folder = stage.settings.folder.clone();
    let lock = std::fs::File::create(folder.join(".node1.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(stage.back_up(Wanted::Full).unwrap_err(), BackupError::Busy { .. }));
    drop(lock);
    stage.back_up(Wanted::Full).unwrap();
    stage.settings.folder = folder.join("not mounted");
    assert!(matches!(stage.back_up(Wanted::Full).unwrap_err(), BackupError::Write { .. }));
    assert!(!folder.join("not mounted").exists());
    let none = newest(&folder, &"node2".parse().unwrap()).unwrap_err();
    assert!(matches!(none, BackupError::None { .. }), "{none}");
}

#[test]
fn what_was_never_finished__should_be_cleared_away_and_never_be_a_backup() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let (whole, unfinished) = (std::fs::read(&made.path).unwrap(), "node1-20270115T080300000Z.full.age.new");
    std::fs::write(stage.path(unfinished), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(stage.path("node1-20270115T080300000Z.full.manifest.new"), "half").unwrap();
    std::fs::write(stage.path("node2-20270115T080300000Z.full.age.new"), "of another node").unwrap();
    assert_eq!(list(&stage.settings.folder, &stage.settings.name).unwrap().len(), 1);
    stage.back_up(Wanted::Smaller).unwrap();
    let left: Vec<_> = stage.files().into_iter().filter(|file| file.ends_with(".new")).collect();
    assert_eq!(left, ["node2-20270115T080300000Z.full.age.new"]);
    assert_eq!(list(&stage.settings.folder, &stage.settings.name).unwrap().len(), 2);
}

#[test]
fn stop__should_end_a_backup_and_leave_nothing_of_it() {
    let stage = Stage::new();
    let stop = AtomicBool::new(true);
    let create = |stop| create(&stage.store.export(), &stage.settings, Wanted::Full, START_MS, stop);
    assert!(matches!(create(&stop).unwrap_err(), BackupError::Interrupted));
    assert!(stage.files().is_empty());
    stop.store(false, Ordering::Relaxed);
    create(&stop).unwrap();
}
