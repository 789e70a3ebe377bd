//! What becomes of pending shares, by what their members say and by what the store does.

use super::*;
use crate::error::Code;
use crate::ids::NodeId;
use crate::keygen::prepare::{Admitted, Prepared};
use crate::keygen::work::{TaskDone, Work};
use crate::reshare::Switched;
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, Point};
use crate::testing::PlantedWallet;
use crate::wallet::{Pending, RECORD_DOMAIN, Restored, orphan_key, pending_key, quarantine_key};

/// A wallet of which the member under test holds its shares pending.
struct Held {
    wallet: WalletId,
    session: SheetHash,
    signatures: BTreeMap<NodeId, [u8; 64]>,
}

impl Held {
    async fn store(bench: &Bench, store: &StorageHandle) -> Self {
        let (wallet, schemes) = (wallet_id("w"), [Scheme::Ed25519]);
        let (cluster, threshold) = (&bench.settings.cluster, bench.settings.threshold);
        let planted = PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &wallet, threshold, &schemes);
        let record = planted.certificate.record();
        let (session, bytes) = (record.session, record.encode().unwrap());
        let sign = |member: &Arc<crate::identity::NodeIdentity>| (member.id(), member.sign(RECORD_DOMAIN, &[&bytes]));
        let signatures: BTreeMap<_, _> = bench.identities.iter().map(sign).collect();
        let me = bench.id(ME);
        let shares: BTreeMap<Scheme, SecretBytes> =
            planted.shares[&me].iter().map(|(&scheme, share)| (scheme, share.to_secret_bytes().unwrap())).collect();
        let pending = Pending::new(session, [9; 32], bytes.clone(), signatures[&me], &shares).encode().unwrap();
        let batch = Batch::new().put(Family::Shares, pending_key(&wallet), pending);
        store.write(batch, Durability::Synced).await.unwrap();
        Self { wallet, session, signatures }
    }

    fn signed_by(&self, rig: &Rig, member: usize) -> PendingOutcome {
        PendingOutcome::Pending(self.signatures[&rig.bench.id(member)])
    }
}

/// A member with pending shares that asks nobody, since nobody is there, and looks again at what it was told soon.
async fn rig(timeouts: StorageTimeouts) -> (Rig, Held) {
    let mut held = None;
    let rig = Rig::start(
        (2, 3),
        async |bench, store| held = Some(Held::store(bench, store).await),
        |args| {
            args.resolve_every = SOON;
            args.storage = args.storage.with(timeouts);
        },
    )
    .await;
    let held = held.unwrap();
    assert_eq!(rig.snapshot().await.unsettled, [held.wallet.clone()].into());
    (rig, held)
}

async fn is_active(rig: &Rig, wallet: &WalletId) -> bool {
    let wallet = wallet.clone();
    rig.keygen.call(PATIENCE, |reply| KeygenMsg::Wallet { wallet, reply }).await.unwrap().unwrap().is_some()
}

async fn is_set_aside(rig: &Rig, held: &Held) -> bool {
    let orphan = rig.store.get(Family::Shares, orphan_key(&held.wallet, held.session)).await.unwrap();
    let pending = rig.store.get(Family::Shares, pending_key(&held.wallet)).await.unwrap();
    orphan.is_some() && pending.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn word_of_a_member__should_count_also_while_a_certificate_is_tried() {
    for certified in [true, false] {
        let (rig, held) = rig(StorageTimeouts::default()).await;
        let silence = rig.silence().await;
        rig.reply(0, &held.wallet, held.session, PendingOutcome::Certified(b"nonsense".to_vec()));
        // It is being tried until something computes again. This is said once, and nobody is asked again.
        rig.reply(0, &held.wallet, held.session, held.signed_by(&rig, 0));
        let last = if certified { held.signed_by(&rig, 2) } else { PendingOutcome::Absent };
        rig.reply(2, &held.wallet, held.session, last);
        assert_eq!(rig.snapshot().await.unsettled.len(), 1);
        drop(silence);
        rig.until("the share is settled", |snapshot| snapshot.unsettled.is_empty()).await;
        assert_eq!((is_active(&rig, &held.wallet).await, is_set_aside(&rig, &held).await), (certified, !certified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn share__should_be_settled_when_the_store_answers_too_late() {
    for certified in [true, false] {
        let (rig, held) = rig(super::impatience()).await;
        let family = if certified { Family::Wallets } else { Family::Shares };
        let mut hold = rig.bench.faults.hold_of(Point::BeforeWrite, family);
        rig.reply(0, &held.wallet, held.session, held.signed_by(&rig, 0));
        let last = if certified { held.signed_by(&rig, 2) } else { PendingOutcome::Absent };
        rig.reply(2, &held.wallet, held.session, last);
        hold.reached().await;
        // That write was given up, and is done all the same.
        rig.until_write_waits().await;
        drop(hold);
        rig.until("the share is settled", |snapshot| snapshot.unsettled.is_empty()).await;
        assert_eq!((is_active(&rig, &held.wallet).await, is_set_aside(&rig, &held).await), (certified, !certified));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_not_be_made_anew_when_it_became_active_while_a_request_was_looked_into() {
    let (rig, held) = rig(StorageTimeouts::default()).await;
    rig.reply(0, &held.wallet, held.session, held.signed_by(&rig, 0));
    rig.reply(2, &held.wallet, held.session, held.signed_by(&rig, 2));
    rig.until("the wallet is active", |snapshot| snapshot.activated == 1).await;
    let (request, (reply, answer)) = (rig.request("w"), ractor::concurrency::oneshot());
    let content = request.content_hash();
    let before =
        Work::Prepared { reply: reply.into(), activated: 0, result: Ok(Admitted::New(Prepared { request, content })) };
    rig.keygen.cast(KeygenMsg::Task(TaskDone(before))).unwrap();
    let failure = answer.await.unwrap().unwrap_err();
    // It was made for another request.
    assert_eq!(failure.code, Code::KeyAlreadyExists, "{failure}");
}

/// What a restore puts beside a wallet.
fn mark(wallet: &WalletId) -> Batch {
    let mark = Restored { archive: [1; 16], made_ms: 1, restored_ms: 2 }.encode().unwrap();
    Batch::new().put(Family::Meta, quarantine_key(wallet), mark)
}

async fn is_marked(rig: &Rig, wallet: &WalletId) -> bool {
    rig.store.get(Family::Meta, quarantine_key(wallet)).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_pending_share__should_stay_in_quarantine_when_it_comes_into_force() {
    let mut held = None;
    let ready = async |bench: &Bench, store: &StorageHandle| {
        let stored = Held::store(bench, store).await;
        store.write(mark(&stored.wallet), Durability::Synced).await.unwrap();
        held = Some(stored);
    };
    let rig = Rig::start((2, 3), ready, |args| args.resolve_every = SOON).await;
    let held = held.unwrap();
    rig.reply(0, &held.wallet, held.session, held.signed_by(&rig, 0));
    rig.reply(2, &held.wallet, held.session, held.signed_by(&rig, 2));
    rig.until("it is in force", |snapshot| snapshot.activated == 1).await;
    assert_eq!(rig.snapshot().await.quarantined, [held.wallet.clone()].into());
    rig.reply(0, &held.wallet, held.session, PendingOutcome::Certified(vec![]));
    assert!(is_marked(&rig, &held.wallet).await);
    rig.reply(2, &held.wallet, held.session, PendingOutcome::Certified(vec![]));
    rig.until("it is confirmed", |snapshot| snapshot.quarantined.is_empty()).await;
    assert!(!is_marked(&rig, &held.wallet).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_reshare__should_be_confirmed_when_it_comes_into_force() {
    let wallet = wallet_id("w");
    let ready = async |_: &Bench, store: &StorageHandle| {
        store.write(mark(&wallet_id("w")), Durability::Synced).await.unwrap();
    };
    let rig = Rig::start((2, 3), ready, |args| args.resolve_every = SOON).await;
    assert!(rig.snapshot().await.quarantined.is_empty(), "nothing can be confirmed");
    let bench = &rig.bench;
    let (cluster, threshold) = (&bench.settings.cluster, bench.settings.threshold);
    let schemes = [Scheme::Ed25519];
    let certificate =
        PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &wallet, threshold, &schemes).certificate;
    let session = certificate.record().session;
    rig.keygen.cast(KeygenMsg::Switched(Switched(certificate))).unwrap();
    assert_eq!(rig.snapshot().await.quarantined, [wallet.clone()].into());
    for member in [0, 2] {
        rig.reply(member, &wallet, session, PendingOutcome::Certified(vec![]));
    }
    rig.until("it is confirmed", |snapshot| snapshot.quarantined.is_empty()).await;
    assert!(!is_marked(&rig, &wallet).await);
}
