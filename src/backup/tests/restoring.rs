//! From a store to its backup and back.

use std::collections::BTreeSet;

use super::*;
use crate::checkup::LastCheckup;
use crate::identity::{Algorithm, RequestKey as InitiatorKey};
use crate::ids::Generation;
use crate::reshare::some_reshare_notes;
use crate::wallet::{
    DestructionCertificate, KeyRecord, Pending, QUARANTINE_PREFIX, RESTORED_KEY, Restored, WalletCertificate,
    certificate_key, orphan_key, pending_key, quarantine_key, resharing_key, share_key, tombstone_key,
};
use crate::wire::request::DestroyRequest;

#[test]
fn restore__should_bring_back_every_record_of_one_moment() {
    let mut stage = Stage::new();
    stage.answer("before");
    let at_backup = content(&stage.store);
    let made = stage.back_up(Wanted::Smaller).unwrap();
    stage.answer("after");
    assert!(made.is_full, "there is nothing that it could rest on");
    assert_eq!(made.records, at_backup.len() as u64 + 1, "the pair setup is in it");
    let verified = stage.verify(&made.path).unwrap();
    assert_eq!((verified.tally.wallets, verified.tally.shares), (2, 2));
    assert_eq!(verified.tally.records[&Family::Pairs], 1);
    let (restored, again) = stage.restore(&made.path).unwrap();
    assert_eq!((content(&restored), again), (at_backup, verified));
}

#[test]
fn restored_store__should_hold_its_wallets_in_quarantine_and_no_pair_setup() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let (restored, verified) = stage.restore(&made.path).unwrap();
    for key in
        [quarantine_key(&"first".parse().unwrap()), quarantine_key(&"second".parse().unwrap()), RESTORED_KEY.to_vec()]
    {
        let note = restored.get(Family::Meta, &key).unwrap().unwrap();
        let note = Restored::decode(note.expose()).unwrap();
        assert_eq!((note.archive, note.made_ms), (verified.head.archive.0, made.made_ms));
    }
    assert!(restored.list(Family::Pairs, b"", None, 1).unwrap().records.is_empty());
    assert!(stage.store.get(Family::Meta, RESTORED_KEY).unwrap().is_none(), "only the copy is one");
}

#[test]
fn restored_store__should_hold_wallets_in_quarantine_that_only_wait_for_their_certificate() {
    let mut stage = Stage::new();
    let me = stage.identities[0].id();
    let wait = |wallet: &WalletId| {
        let (cluster, threshold) = (&stage.settings.owner.cluster, Threshold::new(2, 3).unwrap());
        let dealt =
            PlantedWallet::deal(cluster, &stage.peers, &stage.identities, wallet, threshold, &[Scheme::Ed25519]);
        let record = dealt.certificate.record();
        let shares = dealt.shares[&me].iter().map(|(&scheme, share)| (scheme, share.to_secret_bytes().unwrap()));
        let pending = Pending::new(record.session, [1; 32], record.encode().unwrap(), [2; 64], &shares.collect());
        (record.session, pending.encode().unwrap())
    };
    let (pending, aside): (WalletId, WalletId) = ("pending".parse().unwrap(), "aside".parse().unwrap());
    let (of_pending, (session, of_aside)) = (wait(&pending).1, wait(&aside));
    let records = Batch::new().put(Family::Shares, pending_key(&pending), of_pending);
    stage.write(&records.put(Family::Shares, orphan_key(&aside, session), of_aside));
    let made = stage.back_up(Wanted::Full).unwrap();
    let (restored, _) = stage.restore(&made.path).unwrap();
    for wallet in [pending, aside] {
        assert!(restored.get(Family::Meta, &quarantine_key(&wallet)).unwrap().is_some(), "{wallet}");
    }
}

#[test]
fn destroyed_wallet__should_be_counted_and_stay_destroyed() {
    let mut stage = Stage::new();
    let (wallet, me): (WalletId, _) = ("first".parse().unwrap(), Arc::clone(&stage.identities[0]));
    let stored = stage.store.get(Family::Wallets, &certificate_key(&wallet)).unwrap().unwrap();
    let certificate = WalletCertificate::decode(stored.expose(), &stage.peers).unwrap();
    let keys: Vec<_> = certificate.record().keys.iter().map(KeyRecord::public_key).collect();
    let request = DestroyRequest::builder(wallet.clone(), &keys);
    let request = request.sign_with(&InitiatorKey::generate(Algorithm::Ed25519).unwrap()).unwrap();
    let mut destruction = DestructionCertificate::new(request, certificate).unwrap();
    destruction.state(&me, vec![(Scheme::Ed25519, Generation(0))], 7).unwrap();
    let tombstone = destruction.encode().unwrap();
    let batch = |tombstone: &[u8]| {
        Batch::new()
            .delete(Family::Wallets, certificate_key(&wallet))
            .delete(Family::Shares, share_key(&wallet, Scheme::Ed25519, Generation(0)))
            .put(Family::Wallets, tombstone_key(&wallet), secret(tombstone))
            .put(Family::Meta, [b"destroying\0", wallet.as_str().as_bytes()].concat(), secret(&[1]))
    };
    stage.write(&batch(&tombstone));
    let made = stage.back_up(Wanted::Full).unwrap();
    assert_eq!(verify(&made.path, &unlock(), None).unwrap().tally.destroyed, 1);
    let (restored, verified) = stage.restore(&made.path).unwrap();
    assert_eq!((verified.tally.wallets, verified.tally.destroyed), (1, 1));
    assert!(restored.get(Family::Wallets, &tombstone_key(&wallet)).unwrap().is_some());
    let marks = restored.list(Family::Meta, QUARANTINE_PREFIX, None, 9).unwrap().records;
    assert_eq!(marks.len(), 1, "of the other wallet");

    // It is still good when one of its members is none any more.
    let left = stage.identities[..2].iter().map(|identity| identity.member());
    let peers = PeerBook::new(left.collect()).unwrap();
    let second: WalletId = "second".parse().unwrap();
    stage.write(
        &Batch::new()
            .delete(Family::Wallets, certificate_key(&second))
            .delete(Family::Shares, share_key(&second, Scheme::Ed25519, Generation(0))),
    );
    let made = stage.back_up(Wanted::Full).unwrap();
    assert_eq!(verify(&made.path, &unlock(), Some(&peers)).unwrap().tally.destroyed, 1);

    let mut false_one = tombstone;
    *false_one.last_mut().unwrap() ^= 1;
    stage.write(&batch(&false_one));
    let made = stage.back_up(Wanted::Full).unwrap();
    let refused = stage.verify(&made.path).unwrap_err();
    assert!(matches!(refused, BackupError::Record { family: Family::Wallets, .. }), "{refused}");
}

#[test]
fn differential_backups__should_bring_back_what_was_added_changed_and_removed() {
    let mut stage = Stage::new();
    for number in 0..50 {
        stage.answer(&format!("request {number}"));
    }
    let full = stage.back_up(Wanted::Smaller).unwrap();
    let removed = RequestKey { wallet: "first".parse().unwrap(), request: "request 7".parse().unwrap() };
    stage.write(&Batch::new().delete(Family::Results, removed.storage_key()));
    stage.answer("request 8");
    stage.plant("third");
    stage.write(&Batch::new().put(Family::Audit, *b"a last one", secret(b"x")));
    let second = content(&stage.store);
    let differential = stage.back_up(Wanted::Smaller).unwrap();
    assert!(!differential.is_full && full.is_full);
    assert_eq!(differential.records, 1 + 2 + 1, "what was written since");
    assert!(differential.bytes < full.bytes / 2);
    stage.answer("request 9");
    let third = content(&stage.store);
    let later = stage.back_up(Wanted::Smaller).unwrap();
    assert_eq!(later.records, 5, "it rests on the full one, not on the one before it");

    let (restored, verified) = stage.restore(&differential.path).unwrap();
    assert_eq!(content(&restored), second);
    assert_eq!(verified.tally.wallets, 3);
    assert_eq!(content(&stage.restore(&later.path).unwrap().0), third);
    assert_eq!(newest(&stage.settings.folder, &stage.settings.name).unwrap().path, later.path);
    assert_eq!(stage.verify(&full.path).unwrap().tally.wallets, 2);
}

#[test]
fn backup__should_verify_and_restore_with_all_that_reshares_and_check_ups_leave_behind() {
    let mut stage = Stage::new();
    let first = stage.plant("first");
    let committee = stage.peers.committee();
    let reshare = |wallet: &PlantedWallet, stage: &Stage| {
        wallet.reshared(&stage.peers, &stage.identities, &committee, Threshold::new(2, 3).unwrap())
    };
    let me = stage.identities[0].id();
    // In force, with somebody who does not know of it; the next one pending; another one set aside.
    let second = reshare(&first, &stage);
    let (pending, aside) = (reshare(&second, &stage), reshare(&second, &stage));
    let wallet = first.certificate.record().wallet.clone();
    let old = share_key(&wallet, Scheme::Ed25519, Generation(0));
    let held = |of: &PlantedWallet| {
        let record = of.certificate.record();
        let shares = of.shares[&me].iter().map(|(&scheme, share)| (scheme, share.to_secret_bytes().unwrap())).collect();
        let everyone: BTreeSet<NodeId> = stage.identities.iter().map(|identity| identity.id()).collect();
        Pending::new(record.session, [1; 32], record.encode().unwrap(), [2; 64], &shares)
            .of_reshare(everyone.clone(), everyone, BTreeMap::new())
            .encode()
            .unwrap()
    };
    let left = second
        .records(me)
        .delete(Family::Shares, old)
        .put(Family::Shares, resharing_key(&wallet), held(&pending))
        .put(Family::Shares, orphan_key(&wallet, aside.certificate.record().session), held(&aside))
        .put(Family::Results, [b"checkup\0", wallet.as_str().as_bytes()].concat(), {
            LastCheckup { at_ms: 2, good_ms: Some(1) }.encode().unwrap()
        });
    stage.write(&left);
    let [purging, notice] = some_reshare_notes(&wallet, stage.identities[2].id());
    stage.write(&Batch::new().put(Family::Meta, purging.0, purging.1).put(Family::Meta, notice.0, notice.1));
    let made = stage.back_up(Wanted::Full).unwrap();
    let verified = stage.verify(&made.path).unwrap();
    assert_eq!((verified.tally.wallets, verified.tally.shares, verified.tally.missing), (2, 2, 0));
    let (restored, _) = stage.restore(&made.path).unwrap();
    assert_eq!(content(&restored), content(&stage.store));

    // A member that was told of the reshare without its disk has no share. Of a new wallet, each member has one.
    let new = share_key(&wallet, Scheme::Ed25519, Generation(1));
    stage.write(&Batch::new().delete(Family::Shares, new));
    let made = stage.back_up(Wanted::Full).unwrap();
    let verified = stage.verify(&made.path).unwrap();
    assert_eq!((verified.tally.wallets, verified.tally.shares, verified.tally.missing), (2, 1, 1));
}

#[test]
fn empty_changes__should_make_an_empty_differential_backup() {
    let mut stage = Stage::new();
    stage.back_up(Wanted::Smaller).unwrap();
    let made = stage.back_up(Wanted::Smaller).unwrap();
    assert_eq!((made.is_full, made.records), (false, 0));
    assert_eq!(content(&stage.restore(&made.path).unwrap().0), content(&stage.store));
}

#[test]
fn store_without_records__should_be_backed_up_too() {
    let mut stage = Stage::new();
    let place = stage.folder.path().join("empty");
    stage.store = Store::open(stage.options(&place), &key(1)).unwrap();
    let made = stage.back_up(Wanted::Smaller).unwrap();
    assert_eq!(made.records, 0);
    assert!(content(&stage.restore(&made.path).unwrap().0).is_empty());
}

#[test]
fn restore__should_leave_what_is_there_alone() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let key = key(2);
    let (occupied, file) = (stage.folder.path().join("occupied"), stage.folder.path().join("a file"));
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("something"), "of somebody").unwrap();
    std::fs::write(&file, "of somebody").unwrap();
    for place in [&occupied, &file] {
        let target = Target { store: stage.options(place), key: &key, files: None, aside: None, now_ms: 1 };
        let refused = restore(&made.path, &unlock(), None, target).unwrap_err();
        assert!(matches!(refused, BackupError::Occupied { .. }), "{refused}");
    }
    std::fs::remove_dir_all(&occupied).unwrap();
    // What a restore left behind that was killed is in nobody's way; an empty folder is empty.
    std::fs::create_dir(&occupied).unwrap();
    let staging = stage.folder.path().join("occupied.restoring");
    std::fs::create_dir(&staging).unwrap();
    std::fs::write(staging.join("CURRENT"), "half a store").unwrap();
    let target = Target { store: stage.options(&occupied), key: &key, files: None, aside: None, now_ms: 1 };
    restore(&made.path, &unlock(), None, target).unwrap();
    assert!(!staging.exists());
    assert_eq!(content(&Store::open(stage.options(&occupied), &key).unwrap()), content(&stage.store));
}

#[test]
fn store_in_the_place__should_be_set_aside_for_a_whole_new_one_only_and_while_nobody_has_it_open() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let (place, former, next) = (stage.folder.path().join("data/store"), key(3), key(2));
    let kept = aside(&place, 7);
    let write = Batch::new().put(Family::Audit, *b"only here", secret(b"x"));
    let open = Store::open(stage.options(&place), &former).unwrap();
    open.write(&write, Durability::Synced).unwrap();
    let target =
        || Target { store: stage.options(&place), key: &next, files: None, aside: Some(kept.clone()), now_ms: 7 };
    let refused = restore(&made.path, &unlock(), None, target()).unwrap_err();
    assert!(matches!(refused, BackupError::Storage(StorageError::InUse { .. })), "{refused}");
    assert!(place.exists() && !kept.exists(), "it is the node's that runs");
    drop(open);
    let wrong = restore(&made.path, &Unlock::passphrase(secret(b"wrong")), None, target()).unwrap_err();
    assert!(matches!(wrong, BackupError::WrongKey), "{wrong}");
    assert!(!kept.exists(), "nothing can take its place");
    drop(Store::open(stage.options(&place), &former).unwrap());

    restore(&made.path, &unlock(), None, target()).unwrap();
    assert_eq!(content(&Store::open(stage.options(&place), &next).unwrap()), content(&stage.store));
    let kept = Store::open(stage.options(&kept), &former).unwrap();
    assert!(kept.get(Family::Audit, b"only here").unwrap().is_some());
    drop(kept);
    let again = restore(&made.path, &unlock(), None, target()).unwrap_err();
    assert!(matches!(again, BackupError::Occupied { .. }), "nothing is replaced: {again}");
    // A file in the place is kept too.
    let (place, kept) = (stage.folder.path().join("file"), stage.folder.path().join("file kept"));
    std::fs::write(&place, "of somebody").unwrap();
    let target = Target { store: stage.options(&place), key: &next, files: None, aside: Some(kept.clone()), now_ms: 7 };
    restore(&made.path, &unlock(), None, target).unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), b"of somebody");
}

#[test]
fn restores_into_one_folder__should_go_one_at_a_time() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let (place, key) = (stage.folder.path().join("data/store"), key(2));
    // What another restore has half done.
    let staging = stage.folder.path().join("data/store.restoring");
    std::fs::create_dir_all(&staging).unwrap();
    let other = std::fs::File::open(place.parent().unwrap()).unwrap();
    other.lock().unwrap();
    let target = || Target { store: stage.options(&place), key: &key, files: None, aside: None, now_ms: 1 };
    let refused = restore(&made.path, &unlock(), None, target()).unwrap_err();
    assert!(matches!(refused, BackupError::Restoring { .. }), "{refused}");
    assert!(staging.exists(), "it is the other's");
    drop(other);
    restore(&made.path, &unlock(), None, target()).unwrap();
}

#[test]
fn restore__should_refuse_the_backup_of_another_node_and_leave_nothing() {
    let mut stage = Stage::new();
    let made = stage.back_up(Wanted::Full).unwrap();
    let (place, key) = (stage.folder.path().join("new"), key(2));
    let owner = stage.settings.owner.clone();
    for other in [
        Owner { node: stage.identities[1].id(), ..owner.clone() },
        Owner { cluster: "beta".parse().unwrap(), ..owner.clone() },
    ] {
        let store = StoreOptions { owner: other, ..stage.options(&place) };
        let target = Target { store, key: &key, files: None, aside: None, now_ms: 1 };
        let refused = restore(&made.path, &unlock(), None, target).unwrap_err();
        assert!(matches!(&refused, BackupError::Foreign { node, .. } if *node == owner.node), "{refused}");
    }
    assert!(!place.exists() && !stage.folder.path().join("new.restoring").exists());
}

#[test]
fn keys_and_passphrases__should_open_what_is_for_them_and_nothing_else() {
    let mut stage = Stage::new();
    let by_passphrase = stage.back_up(Wanted::Full).unwrap().path;
    let keys: Vec<_> = (0..3).map(|_| generated_keys()).collect();
    let recipients = [keys[0].0.clone(), keys[1].0.clone()];
    stage.settings.seal = Box::new(move || Seal::recipients(recipients.iter().map(String::as_str)));
    let by_keys = stage.back_up(Wanted::Full).unwrap().path;
    let unlock = |key: &SecretBytes| {
        let file = [b"# made by age-keygen\n".as_slice(), key.expose(), b"\n\n"].concat();
        Unlock::identities(&secret(&file)).unwrap()
    };
    for (_, key) in &keys[..2] {
        verify(&by_keys, &unlock(key), None).unwrap();
    }
    let stranger = verify(&by_keys, &unlock(&keys[2].1), None).unwrap_err();
    assert!(matches!(stranger, BackupError::WrongKey), "{stranger}");
    let wrong = verify(&by_passphrase, &Unlock::passphrase(secret(b"wrong")), None).unwrap_err();
    assert!(matches!(wrong, BackupError::WrongKey), "{wrong}");
    let kind = verify(&by_passphrase, &unlock(&keys[0].1), None).unwrap_err();
    assert!(matches!(kind, BackupError::WrongKeyKind { stored: "a passphrase", .. }), "{kind}");
    let kind = stage.verify(&by_keys).unwrap_err();
    assert!(matches!(kind, BackupError::WrongKeyKind { stored: "keys", .. }), "{kind}");
    for text in ["", "# nothing", "AGE-SECRET-KEY-1X", "age1xyz"] {
        assert!(matches!(Unlock::identities(&secret(text.as_bytes())), Err(BackupError::Seal { .. })), "{text}");
    }
    assert!(matches!(Seal::recipients([]), Err(BackupError::Seal { .. })));
    assert!(matches!(Seal::recipients(["age1xyz"]), Err(BackupError::Seal { .. })));
    assert!(matches!(Seal::recipients(vec![keys[0].0.as_str(); 17]), Err(BackupError::Seal { .. })));
    assert!(matches!(Seal::passphrase(secret(b"")), Err(BackupError::Seal { .. })));
}

#[test]
fn identity_files__should_come_along_when_asked_and_replace_nothing() {
    let mut stage = Stage::new();
    let file = stage.folder.path().join("node1_private.key");
    std::fs::write(&file, "a key").unwrap();
    stage.settings.files = vec![file];
    stage.back_up(Wanted::Full).unwrap();
    let made = stage.back_up(Wanted::Smaller).unwrap();
    assert!(!made.is_full);
    assert_eq!(stage.verify(&made.path).unwrap().files, ["node1_private.key"]);
    let (files, key) = (stage.folder.path().join("identity"), key(2));
    std::fs::create_dir(&files).unwrap();
    let target = |place: &str| {
        let store = stage.options(&stage.folder.path().join(place));
        Target { store, key: &key, files: Some(files.clone()), aside: None, now_ms: 1 }
    };
    restore(&made.path, &unlock(), None, target("one")).unwrap();
    assert_eq!(std::fs::read(files.join("node1_private.key")).unwrap(), b"a key");
    restore(&made.path, &unlock(), None, target("again")).unwrap();
    std::fs::write(files.join("node1_private.key"), "another").unwrap();
    let refused = restore(&made.path, &unlock(), None, target("two")).unwrap_err();
    assert!(matches!(refused, BackupError::Occupied { .. }), "{refused}");
    assert!(!stage.folder.path().join("two").exists());
    assert_eq!(std::fs::read(files.join("node1_private.key")).unwrap(), b"another");
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 1, "nothing unfinished is left");
    std::fs::remove_file(stage.folder.path().join("node1_private.key")).unwrap();
    let missing = stage.back_up(Wanted::Full).unwrap_err();
    assert!(matches!(missing, BackupError::Read { .. }), "{missing}");
}
