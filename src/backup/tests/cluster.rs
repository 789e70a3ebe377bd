//! Backups by nodes that run, and nodes that come back out of one.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::destruction::DestructionMsg;
use crate::error::Code;
use crate::identity::{Algorithm, RequestKey as InitiatorKey};
use crate::ids::Generation;
use crate::node::Backups;
use crate::testing::{Cluster, ClusterBuilder, HarnessError, PATIENCE, eventually};
use crate::wallet::{KeyRecord, certificate_key, orphans_of, quarantine_key, share_key, tombstone_key};
use crate::wire::request::{AuthorizerId, DestroyRequest};

const WALLET: &str = "treasury";
const SCHEMES: &[Scheme] = &[Scheme::Ed25519];

/// Two of three nodes sign; all back up into one folder.
async fn start(folder: &Path, period: Option<Duration>) -> Cluster {
    builder(folder, period).start().await.unwrap()
}

fn builder(folder: &Path, period: Option<Duration>) -> ClusterBuilder {
    let folder = folder.to_owned();
    let builder = Cluster::builder("test".parse().unwrap(), Threshold::new(2, 3).unwrap()).without_pairs();
    builder.args(move |_, args| {
        args.storage.key.put(key(1));
        let settings = BackupSettings {
            folder: folder.clone(),
            owner: args.storage.options.owner.clone(),
            name: args.identity.name().clone(),
            signer: Arc::clone(&args.identity),
            seal: Box::new(|| Seal::insecure_for_tests(secret(PASSPHRASE))),
            keep: 2,
            files: Vec::new(),
        };
        args.backup = Some(Backups { settings: Arc::new(settings), period });
    })
}

async fn back_up(cluster: &Cluster, number: usize) -> Result<Made, NotMade> {
    let to = &cluster.addresses(number).unwrap().backup;
    to.call(PATIENCE, |reply| BackupMsg::Create { wanted: Wanted::Smaller, reply }).await.unwrap()
}

async fn snapshot(cluster: &Cluster, number: usize) -> BackupSnapshot {
    cluster.addresses(number).unwrap().backup.call(PATIENCE, BackupMsg::Snapshot).await.unwrap()
}

/// Loses a node with its disk, and restores the disk.
async fn replace_disk(cluster: &Cluster, number: usize, backup: &Path) {
    // Opens once its former life has let go of it.
    cluster.with_store(number, async |_| Ok(())).await.unwrap();
    let args = cluster.local().args(number).unwrap();
    std::fs::remove_dir_all(&args.storage.options.folder).unwrap();
    let key = key(1);
    let target = Target {
        store: args.storage.options.clone(),
        key: &key,
        files: None,
        aside: None,
        now_ms: args.clock.now_ms(),
    };
    restore(backup, &unlock(), Some(&args.peers), target).unwrap();
}

async fn until_confirmed(cluster: &Cluster, number: usize) {
    let confirmed = async || cluster.keygen(number).await.is_ok_and(|seen| seen.quarantined.is_empty());
    eventually("its wallets are confirmed", confirmed).await.unwrap();
}

fn code<T>(result: Result<T, HarnessError>) -> Code {
    match result {
        Err(HarnessError::Failure(failure)) => failure.code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it succeeded"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_node__should_sign_again_once_enough_members_confirm_its_wallets() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start(folder.path(), None).await;
    cluster.make_wallet(0, WALLET, SCHEMES).await.unwrap();
    let made = back_up(&cluster, 2).await.unwrap();
    cluster.lose(2).await.unwrap();
    cluster.lose(1).await.unwrap();
    replace_disk(&cluster, 2, &made.path).await;

    // One of the two others is not enough: the third might know more.
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.until_unready(1).await.unwrap();
    assert_eq!(code(cluster.sign(2, Scheme::Ed25519, WALLET).await), Code::WalletQuarantined);
    assert_eq!(code(cluster.sign(0, Scheme::Ed25519, WALLET).await), Code::NotMajority, "it takes no part either");
    assert_eq!(cluster.keygen(2).await.unwrap().quarantined, [WALLET.parse().unwrap()].into());
    let wallet = cluster.node(2).unwrap().wallet(WALLET.parse().unwrap()).await.unwrap().unwrap();

    cluster.restart(1).await.unwrap();
    cluster.until_ready().await.unwrap();
    until_confirmed(&cluster, 2).await;
    cluster.lose(1).await.unwrap();
    cluster.until_unready(1).await.unwrap();
    let signed = cluster.sign(2, Scheme::Ed25519, WALLET).await.unwrap();
    assert_eq!(signed.public_key, wallet.record().key(Scheme::Ed25519).unwrap().public_key(), "it is the same key");

    // What is confirmed stays so.
    cluster.lose(2).await.unwrap();
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.sign(2, Scheme::Ed25519, WALLET).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet_destroyed_since_its_backup__should_be_destroyed_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (auditor, key) =
        (AuthorizerId::try_from("auditor".to_owned()).unwrap(), InitiatorKey::generate(Algorithm::Ed25519));
    let key = key.unwrap();
    let authorizers = BTreeMap::from([(auditor.clone(), key.public())]);
    let builder = builder(folder.path(), None).policy(move |policy| {
        policy.with_authorizers(authorizers, [].into()).unwrap().allow_destruction(1.try_into().unwrap())
    });
    let mut cluster = builder.start().await.unwrap();
    let wallet: WalletId = WALLET.parse().unwrap();
    let made = cluster.make_wallet(0, WALLET, SCHEMES).await.unwrap();
    let keys: Vec<_> = made.record().keys.iter().map(KeyRecord::public_key).collect();
    let backup = back_up(&cluster, 2).await.unwrap();
    let request = DestroyRequest::builder(wallet.clone(), &keys).approved_by(auditor, &key);
    let request = request.sign_with(cluster.local().initiator()).unwrap();
    let to = cluster.addresses(0).unwrap().destruction.clone();
    let destroyed = to.call(PATIENCE, |reply| DestructionMsg::Destroy { request, reply }).await.unwrap().unwrap();
    assert!(destroyed.certificate.is_complete());

    cluster.lose(2).await.unwrap();
    replace_disk(&cluster, 2, &backup.path).await;
    cluster.restart(2).await.unwrap();
    let gone = async || {
        let stored = async |family, key: &[u8]| cluster.stored_keys(2, family, key).await.unwrap_or_default().len();
        stored(Family::Wallets, &tombstone_key(&wallet)).await == 1
            && stored(Family::Wallets, &certificate_key(&wallet)).await == 0
            && stored(Family::Shares, b"").await == 0
            && stored(Family::Meta, &quarantine_key(&wallet)).await == 0
            && stored(Family::Meta, b"purge").await == 0
    };
    eventually("the wallet is gone again, also from the files", gone).await.unwrap();
    assert!(cluster.keygen(2).await.unwrap().quarantined.is_empty());
    cluster.until_ready().await.unwrap();
    assert_eq!(code(cluster.sign(2, Scheme::Ed25519, WALLET).await), Code::WalletDestroyed);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_wallet__should_stay_in_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start(folder.path(), None).await;
    let planted = {
        for number in 0..3 {
            cluster.lose(number).await.unwrap();
        }
        let wallet = WALLET.parse().unwrap();
        PlantedWallet::in_cluster(cluster.local(), &wallet, Threshold::new(2, 3).unwrap(), SCHEMES).await
    };
    for number in 0..3 {
        cluster.restart(number).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    let made = back_up(&cluster, 2).await.unwrap();
    // Another session has made the wallet what it is for the others, as a reshare does.
    for number in 0..3 {
        cluster.lose(number).await.unwrap();
    }
    let newer = PlantedWallet::in_cluster(
        cluster.local(),
        &planted.certificate.record().wallet,
        Threshold::new(2, 3).unwrap(),
        SCHEMES,
    );
    newer.await;
    replace_disk(&cluster, 2, &made.path).await;
    for number in 0..3 {
        cluster.restart(number).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    // Long enough for many rounds of questions, each of which is answered.
    let asked = timeout(Duration::from_secs(3), until_confirmed(&cluster, 2)).await;
    assert!(asked.is_err(), "it was let out");
    assert_eq!(code(cluster.sign(2, Scheme::Ed25519, WALLET).await), Code::WalletQuarantined);
    // The others sign without it, whomever the coordinator asks first.
    for _ in 0..4 {
        cluster.sign(0, Scheme::Ed25519, WALLET).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet_reshared_since_its_backup__should_be_taken_over_from_others_and_its_old_share_erased() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start(folder.path(), None).await;
    let newer = reshared_since_its_backup(&mut cluster).await;
    let wallet = newer.certificate.record().wallet.clone();
    let old_share = share_key(&wallet, Scheme::Ed25519, Generation(0));
    for number in 0..3 {
        cluster.restart(number).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    until_confirmed(&cluster, 2).await;
    let known = cluster.node(2).unwrap().wallet(wallet.clone()).await.unwrap().unwrap();
    assert_eq!(known.record(), newer.certificate.record());
    assert_eq!(code(cluster.sign(2, Scheme::Ed25519, WALLET).await), Code::KeyNotFound, "it has to be dealt a share");
    // The others sign without it, whomever the coordinator asks first.
    for _ in 0..4 {
        cluster.sign(0, Scheme::Ed25519, WALLET).await.unwrap();
    }
    cluster.lose(2).await.unwrap();
    let erased = cluster.with_store(2, async |store| Ok(store.get(Family::Shares, old_share).await?.is_none()));
    assert!(erased.await.unwrap(), "the old share is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_nodes__should_not_take_each_others_word_but_their_operators() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start(folder.path(), None).await;
    cluster.make_wallet(0, WALLET, SCHEMES).await.unwrap();
    let made = [back_up(&cluster, 1).await.unwrap(), back_up(&cluster, 2).await.unwrap()];
    for (number, made) in [1, 2].into_iter().zip(&made) {
        cluster.lose(number).await.unwrap();
        replace_disk(&cluster, number, &made.path).await;
    }
    for number in [1, 2] {
        cluster.restart(number).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    // Long enough for many rounds of questions, each of which is answered.
    let asked = async {
        tokio::select! {
            () = until_confirmed(&cluster, 1) => {}
            () = until_confirmed(&cluster, 2) => {}
        }
    };
    assert!(timeout(Duration::from_secs(3), asked).await.is_err(), "the two may be as old as each other");
    assert_eq!(code(cluster.sign(0, Scheme::Ed25519, WALLET).await), Code::NotMajority);

    let wallet: WalletId = WALLET.parse().unwrap();
    let release = async |wallet: &str| {
        let wallet = wallet.parse().unwrap();
        let keygen = &cluster.addresses(1).unwrap().keygen;
        keygen.call(PATIENCE, |reply| crate::keygen::KeygenMsg::Release { wallet, reply }).await.unwrap()
    };
    assert_eq!(release("another").await.unwrap_err().code, Code::KeyNotFound);
    release(WALLET).await.unwrap();
    assert!(cluster.keygen(1).await.unwrap().quarantined.is_empty());
    // Its word counts now.
    until_confirmed(&cluster, 2).await;
    let marks = cluster.stored_keys(1, Family::Meta, &quarantine_key(&wallet)).await.unwrap();
    assert!(marks.is_empty());
    cluster.sign(1, Scheme::Ed25519, WALLET).await.unwrap();
    cluster.sign(2, Scheme::Ed25519, WALLET).await.unwrap();
}

/// A wallet that was reshared after the backup of node 2 was made, as its others know: no node runs, and node 2 is restored.
async fn reshared_since_its_backup(cluster: &mut Cluster) -> PlantedWallet {
    let (wallet, threshold): (WalletId, _) = (WALLET.parse().unwrap(), Threshold::new(2, 3).unwrap());
    for number in 0..3 {
        cluster.lose(number).await.unwrap();
    }
    let planted = PlantedWallet::in_cluster(cluster.local(), &wallet, threshold, SCHEMES).await;
    for number in 0..3 {
        cluster.restart(number).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    let made = back_up(cluster, 2).await.unwrap();
    for number in 0..3 {
        cluster.lose(number).await.unwrap();
    }
    // Everybody knows of the reshare, this node too: nobody has to tell it.
    let members: Vec<_> = (0..3).map(|number| cluster.local().args(number).unwrap()).collect();
    let identities: Vec<_> = members.iter().map(|args| Arc::clone(&args.identity)).collect();
    let peers = &members[0].peers;
    let newer = planted.reshared(peers, &identities, &peers.committee(), threshold);
    let old_share = share_key(&wallet, Scheme::Ed25519, Generation(0));
    for number in [0, 1] {
        let records = newer.records(identities[number].id()).delete(Family::Shares, old_share.clone());
        cluster.with_store(number, async |store| store.write(records, Durability::Synced).await).await.unwrap();
    }
    replace_disk(cluster, 2, &made.path).await;
    newer
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_share__should_be_kept_aside_on_the_word_of_one_peer_and_erased_on_that_of_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start(folder.path(), None).await;
    let newer = reshared_since_its_backup(&mut cluster).await;
    let (wallet, old) = (newer.certificate.record().wallet.clone(), Generation(0));
    cluster.restart(0).await.unwrap();
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    let knows = async || {
        let known = cluster.node(2).unwrap().wallet(wallet.clone()).await.unwrap().unwrap();
        known.record() == newer.certificate.record()
    };
    eventually("it knows of the reshare", knows).await.unwrap();
    // Long enough for many rounds of questions, each of which is answered.
    assert!(timeout(Duration::from_secs(3), until_confirmed(&cluster, 2)).await.is_err(), "one is not enough");
    let active = share_key(&wallet, Scheme::Ed25519, old);
    assert!(cluster.stored_keys(2, Family::Shares, &active).await.unwrap().is_empty(), "it is in force no more");
    assert_eq!(cluster.stored_keys(2, Family::Shares, &orphans_of(&wallet)).await.unwrap().len(), 1, "it is kept");
    // Also in its next life, and in a backup of it.
    let again = back_up(&cluster, 2).await.unwrap();
    verify(&again.path, &unlock(), None).unwrap();
    cluster.lose(2).await.unwrap();
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(cluster.keygen(2).await.unwrap().quarantined, [wallet.clone()].into());

    cluster.restart(1).await.unwrap();
    cluster.until_ready().await.unwrap();
    until_confirmed(&cluster, 2).await;
    assert!(cluster.stored_keys(2, Family::Shares, &orphans_of(&wallet)).await.unwrap().is_empty(), "it is erased");
    let clear = async || cluster.stored_keys(2, Family::Meta, b"purge").await.unwrap().is_empty();
    eventually("it is gone from the files", clear).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backup__should_be_made_when_it_is_due_and_fail_without_harm() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mounted later");
    let cluster = start(&place, Some(Duration::from_millis(300))).await;
    let failed = async || snapshot(&cluster, 0).await.failed >= 2;
    eventually("it fails, and is tried again", failed).await.unwrap();
    let seen = snapshot(&cluster, 0).await;
    assert_eq!((seen.made, seen.last_succeeded, seen.age), (0, Some(false), None));
    assert!(seen.last_problem.unwrap().contains("mounted later"));
    cluster.make_wallet(0, WALLET, SCHEMES).await.unwrap();
    std::fs::create_dir(&place).unwrap();
    let made = async || snapshot(&cluster, 0).await.made >= 3;
    eventually("backups are made", made).await.unwrap();
    let seen = snapshot(&cluster, 0).await;
    assert!(seen.last_succeeded == Some(true) && seen.age.is_some() && seen.last_bytes > 0, "{seen:?}");
    let name = cluster.local().name(0).unwrap();
    let newest = newest(&place, name).unwrap();
    assert_eq!(verify(&newest.path, &unlock(), None).unwrap().tally.wallets, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups__should_go_on_where_the_clock_was_ahead_once() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["node0", "node1", "node2", "node3"];
    for name in names {
        std::fs::write(folder.path().join(format!("{name}-20990101T000000000Z.full.age")), "of the future").unwrap();
    }
    let cluster = start(folder.path(), Some(Duration::from_millis(300))).await;
    assert!(names.contains(&cluster.local().name(0).unwrap().as_str()));
    let made = async || snapshot(&cluster, 0).await.made >= 3;
    eventually("backups are made", made).await.unwrap();
    assert!(snapshot(&cluster, 0).await.age.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_actor__should_make_one_at_a_time_and_live_again() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = start(folder.path(), None).await;
    let (one, other) = tokio::join!(back_up(&cluster, 0), back_up(&cluster, 0));
    let refused = [one, other].into_iter().find_map(Result::err).expect("one of them was refused");
    assert_eq!(refused.code, Code::ConcurrencyLimit);
    let to = cluster.addresses(0).unwrap().backup.clone();
    let restarts = cluster.local().args(0).unwrap().settings.restarts.restarts;
    for _ in 0..=restarts {
        let former = to.current().unwrap().get_id();
        to.cast(BackupMsg::InjectPanic).unwrap();
        eventually("it lives again", async || to.current().is_some_and(|next| next.get_id() != former)).await.unwrap();
    }
    back_up(&cluster, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backup__should_not_hold_the_store_while_it_waits_for_the_hash_of_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let (waiting, mut is_waiting) = tokio::sync::mpsc::unbounded_channel();
    let may_go_on = Arc::new(std::sync::Mutex::new(may_go_on));
    let builder = Cluster::builder("test".parse().unwrap(), Threshold::new(2, 3).unwrap()).without_pairs();
    let builder = builder.args(move |_, args| {
        let (waiting, may_go_on) = (waiting.clone(), Arc::clone(&may_go_on));
        let settings = BackupSettings {
            folder: place.clone(),
            owner: args.storage.options.owner.clone(),
            name: args.identity.name().clone(),
            signer: Arc::clone(&args.identity),
            seal: Box::new(move || {
                waiting.send(()).unwrap();
                let _ = may_go_on.lock().unwrap().recv();
                Seal::insecure_for_tests(secret(PASSPHRASE))
            }),
            keep: 2,
            files: Vec::new(),
        };
        args.backup = Some(Backups { settings: Arc::new(settings), period: None });
    });
    let cluster = builder.start().await.unwrap();
    let sealing = async {
        is_waiting.recv().await.unwrap();
        cluster.node(0).unwrap().seal().await
    };
    let to = cluster.addresses(0).unwrap().backup.clone();
    let asking = to.call(PATIENCE, |reply| BackupMsg::Create { wanted: Wanted::Full, reply });
    let (sealed, made) = tokio::join!(sealing, asking);
    sealed.unwrap();
    assert!(made.is_err(), "nobody answers any more");
    drop(go_on);
}
