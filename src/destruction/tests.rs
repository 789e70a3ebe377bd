//! One node's destructions, its peers played by the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::{DestructionActor, DestructionArgs, DestructionMsg};
use crate::error::Code;
use crate::identity::{Algorithm, RequestKey};
use crate::ids::{Generation, NodeId, Scheme, Threshold};
use crate::policy::Policy;
use crate::registry::{PeerStatus, View};
use crate::storage::{Durability, Family, StorageHandle};
use crate::supervision::Address;
use crate::testing::{Bench, PATIENCE, PlantedWallet, Probe, ProbeInbox};
use crate::transport::{Credit, Inbound, PeerEvent, TransportMsg};
use crate::wallet::{DestructionCertificate, certificate_key, share_key, tombstone_key};
use crate::wire::message::PeerMessage;
use crate::wire::request::{AuthorizerId, DestroyRequest};

/// The node under test.
const ME: usize = 1;

struct Rig {
    bench: Bench,
    auditor: RequestKey,
    wallet: PlantedWallet,
    store: StorageHandle,
    args: DestructionArgs,
    destruction: Address<DestructionMsg>,
    transport: ProbeInbox<TransportMsg>,
    _folder: TempDir,
}

fn auditor() -> AuthorizerId {
    AuthorizerId::try_from("auditor".to_owned()).unwrap()
}

impl Rig {
    /// A member of 2-of-3, with a wallet `w`, whose policy lets the auditor have wallets destroyed, or does not.
    async fn start(allowed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let threshold = Threshold::new(2, 3).unwrap();
        let bench = Bench::new(threshold);
        let (cluster, wallet) = (&bench.settings.cluster, "w".parse().unwrap());
        let wallet =
            PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &wallet, threshold, &[Scheme::Ed25519]);
        let storage = bench.storage(ME, folder.path()).await;
        let store = bench.handle(&storage);
        wallet.store(bench.id(ME), &store).await;
        let auditor_key = RequestKey::generate(Algorithm::Ed25519).unwrap();
        let authorizers = BTreeMap::from([(auditor(), auditor_key.public())]);
        let policy = Policy::new(bench.initiator.public()).with_authorizers(authorizers, [].into()).unwrap();
        let policy = if allowed { policy.allow_destruction(1.try_into().unwrap()) } else { policy };
        let (to_transport, transport) = Probe::start().await;
        let destruction = Address::default();
        let args = DestructionArgs {
            cluster: cluster.clone(),
            identity: Arc::clone(bench.identity(ME)),
            peers: Arc::clone(&bench.peers),
            policy: Arc::new(policy),
            transport: to_transport,
            storage: store.clone(),
            users: Vec::new(),
            pool: bench.pool.clone(),
            clock: bench.clock,
            deadline: Duration::from_secs(20),
            resolve_every: Duration::from_secs(30),
            max_concurrent: 2,
            myself: destruction.clone(),
        };
        drop(Bench::start(DestructionActor, args.clone(), &destruction).await);
        let rig = Self { bench, auditor: auditor_key, wallet, store, args, destruction, transport, _folder: folder };
        rig.show_view();
        rig
    }

    /// Everybody is there.
    fn show_view(&self) {
        let mut view = View::empty(self.bench.id(ME), self.bench.peers.ids());
        for status in view.peers.values_mut() {
            *status = PeerStatus { leased: true, linked: true, serving: true, ..PeerStatus::default() };
        }
        self.destruction.cast(DestructionMsg::View(Arc::new(view))).unwrap();
    }

    fn request(&self) -> DestroyRequest {
        let key = self.wallet.certificate.record().keys[0].public_key();
        let request = DestroyRequest::builder("w".parse().unwrap(), &[key]);
        request.approved_by(auditor(), &self.auditor).sign_with(&self.bench.initiator).unwrap()
    }

    /// The certificate with the statements of these nodes.
    fn certificate(&self, stated: &[usize]) -> DestructionCertificate {
        let wallet = (*self.wallet.certificate).clone();
        let mut certificate = DestructionCertificate::new(self.request(), wallet).unwrap();
        for &number in stated {
            certificate.state(self.bench.identity(number), vec![(Scheme::Ed25519, Generation(0))], 7).unwrap();
        }
        certificate
    }

    /// A node says something.
    fn say(&self, from: usize, message: PeerMessage) {
        let inbound = Inbound { from: self.bench.id(from), message, credit: Credit::none() };
        self.destruction.cast(DestructionMsg::Peer(inbound)).unwrap();
    }

    fn tell(&self, from: usize, certificate: Vec<u8>, ask: bool) {
        self.say(from, PeerMessage::Destroyed { wallet: "w".parse().unwrap(), certificate, ask });
    }

    /// What the node tells next, to whom, and whether it asks.
    async fn told(&mut self) -> (NodeId, DestructionCertificate, bool) {
        let found = self.transport.find(|message| match message {
            TransportMsg::Send { to, message: PeerMessage::Destroyed { certificate, ask, .. } } => {
                Some((to, certificate, ask))
            }
            _ => None,
        });
        let (to, certificate, ask) = found.await;
        (to, DestructionCertificate::decode(&certificate, &self.bench.peers).unwrap(), ask)
    }

    async fn snapshot(&self) -> super::DestructionSnapshot {
        self.destruction.call(PATIENCE, DestructionMsg::Snapshot).await.unwrap()
    }

    /// Whether the wallet is there, and whether its tombstone is.
    async fn stored(&self) -> (bool, bool) {
        let wallet = "w".parse().unwrap();
        let share = self.store.get(Family::Shares, share_key(&wallet, Scheme::Ed25519, Generation(0))).await.unwrap();
        let certificate = self.store.get(Family::Wallets, certificate_key(&wallet)).await.unwrap();
        assert_eq!(share.is_some(), certificate.is_some(), "both or neither");
        let tombstone = self.store.get(Family::Wallets, tombstone_key(&wallet)).await.unwrap();
        (share.is_some(), tombstone.is_some())
    }

    async fn until(&self, condition: impl Fn(&super::DestructionSnapshot) -> bool) {
        let look = async {
            while !condition(&self.snapshot().await) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_destroy_for_a_client_and_answer_when_all_have_stated_it() {
    let mut rig = Rig::start(true).await;
    let (address, request) = (rig.destruction.clone(), rig.request());
    let client = tokio::spawn(async move {
        address.call(PATIENCE, |reply| DestructionMsg::Destroy { request, reply }).await.unwrap()
    });
    let mut told = Vec::new();
    for _ in 0..2 {
        let (to, certificate, ask) = rig.told().await;
        assert!(ask);
        assert_eq!(certificate.stated(), [rig.bench.id(ME)].into());
        told.push(to);
    }
    told.sort_unstable();
    assert_eq!(told, [rig.bench.id(0), rig.bench.id(2)]);
    assert_eq!(rig.stored().await, (false, true));
    rig.tell(0, rig.certificate(&[0]).encode().unwrap(), false);
    rig.until(|snapshot| snapshot.incomplete.len() == 1).await;
    assert!(!client.is_finished());
    rig.tell(2, rig.certificate(&[0, 2]).encode().unwrap(), false);
    let destroyed = client.await.unwrap().unwrap();
    assert!(destroyed.certificate.is_complete());
    // Both are told the whole; when they say that they have it, it is settled.
    let whole = destroyed.certificate.encode().unwrap();
    rig.tell(0, whole.clone(), false);
    rig.tell(2, whole, false);
    rig.until(|snapshot| snapshot.open.is_empty() && snapshot.destroyed == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_destroy_when_a_peer_brings_the_request_and_say_so() {
    let mut rig = Rig::start(true).await;
    rig.tell(0, rig.certificate(&[0]).encode().unwrap(), true);
    let (to, certificate, _) = rig.told().await;
    assert_eq!((to, certificate.stated()), (rig.bench.id(0), [rig.bench.id(0), rig.bench.id(ME)].into()));
    assert_eq!(rig.stored().await, (false, true));
    let own = certificate.statements().find(|statement| statement.node == rig.bench.id(ME)).unwrap();
    assert_eq!(own.erased, [(Scheme::Ed25519, Generation(0))]);
    // Once more changes nothing.
    rig.tell(0, certificate.encode().unwrap(), true);
    let (_, again, ask) = rig.told().await;
    assert_eq!((again, ask, rig.snapshot().await.destroyed), (certificate, false, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_take_no_certificate_that_its_policy_or_its_parts_do_not_bear_out() {
    let unwilling = Rig::start(false).await;
    unwilling.tell(0, unwilling.certificate(&[0]).encode().unwrap(), true);
    unwilling.until(|snapshot| snapshot.refused == 1).await;
    assert_eq!(unwilling.stored().await, (true, false));
    let refused = unwilling.destruction.call(PATIENCE, |reply| {
        let request = unwilling.request();
        DestructionMsg::Destroy { request, reply }
    });
    assert_eq!(refused.await.unwrap().unwrap_err().code, Code::DestructionNotAllowed);

    let rig = Rig::start(true).await;
    let key = rig.wallet.certificate.record().keys[0].public_key();
    let wallet = || (*rig.wallet.certificate).clone();
    let stranger = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let builder = || DestroyRequest::builder("w".parse().unwrap(), &[key]);
    let encoded = |request| DestructionCertificate::new(request, wallet()).unwrap().encode().unwrap();
    let mut forged = rig.certificate(&[0]).encode().unwrap();
    // The last byte is of the statement's signature.
    *forged.last_mut().unwrap() ^= 1;
    let (cluster, peers) = (&rig.bench.settings.cluster, &rig.bench.peers);
    let other_keys = PlantedWallet::deal(
        cluster,
        peers,
        &rig.bench.identities,
        &"w".parse().unwrap(),
        rig.bench.settings.threshold,
        &[Scheme::Ed25519],
    );
    let other_key = other_keys.certificate.record().keys[0].public_key();
    let for_others = DestroyRequest::builder("w".parse().unwrap(), &[other_key]).approved_by(auditor(), &rig.auditor);
    let for_others = for_others.sign_with(&rig.bench.initiator).unwrap();
    let lies = [
        b"nonsense".to_vec(),
        Vec::new(),
        encoded(builder().sign_with(&rig.bench.initiator).unwrap()),
        encoded(builder().approved_by(auditor(), &rig.auditor).sign_with(&stranger).unwrap()),
        encoded(builder().approved_by(auditor(), &stranger).sign_with(&rig.bench.initiator).unwrap()),
        forged,
        DestructionCertificate::new(for_others, (*other_keys.certificate).clone()).unwrap().encode().unwrap(),
    ];
    let count = u64::try_from(lies.len()).unwrap();
    for lie in lies {
        rig.tell(0, lie, true);
    }
    rig.say(
        0,
        PeerMessage::Destroyed {
            wallet: "other".parse().unwrap(),
            certificate: rig.certificate(&[0]).encode().unwrap(),
            ask: true,
        },
    );
    rig.until(|snapshot| snapshot.refused == count + 1).await;
    assert_eq!(rig.stored().await, (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_tell_again_in_its_next_life_and_answer_whoever_asks() {
    let mut rig = Rig::start(true).await;
    let (address, request) = (rig.destruction.clone(), rig.request());
    tokio::spawn(async move {
        let _ = address.call(PATIENCE, |reply| DestructionMsg::Destroy { request, reply }).await;
    });
    rig.told().await;
    rig.told().await;
    // Another life on the same store.
    let next = Address::default();
    let args = DestructionArgs { myself: next.clone(), ..rig.args.clone() };
    drop(Bench::start(DestructionActor, args, &next).await);
    rig.destruction = next;
    rig.show_view();
    assert_eq!(rig.snapshot().await.open, ["w".parse().unwrap()].into());
    let peer = rig.bench.id(2);
    rig.destruction.cast(DestructionMsg::Link(PeerEvent::Up { peer, rtt: Duration::ZERO })).unwrap();
    assert_eq!(rig.told().await.0, peer);
    let wallets = vec!["x".parse().unwrap(), "w".parse().unwrap()];
    rig.say(0, PeerMessage::DestroyedQuery { wallets });
    let (to, certificate, ask) = rig.told().await;
    assert_eq!((to, certificate.stated(), ask), (rig.bench.id(0), [rig.bench.id(ME)].into(), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_ask_a_peer_about_the_wallets_that_it_holds() {
    let mut rig = Rig::start(true).await;
    let peer = rig.bench.id(0);
    rig.destruction.cast(DestructionMsg::Link(PeerEvent::Up { peer, rtt: Duration::ZERO })).unwrap();
    let asked = rig.transport.find(|message| match message {
        TransportMsg::Send { to, message: PeerMessage::DestroyedQuery { wallets } } => Some((to, wallets)),
        _ => None,
    });
    assert_eq!(asked.await, (peer, vec!["w".parse().unwrap()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn destruction__should_be_of_the_wallet_as_it_was_last_whoever_does_not_know_of_a_reshare() {
    let mut rig = Rig::start(true).await;
    let told = rig.certificate(&[0]);
    let (bench, threshold) = (&rig.bench, Threshold::new(2, 3).unwrap());
    let newer = rig.wallet.reshared(&bench.peers, &bench.identities, &bench.peers.committee(), threshold);
    let former = share_key(&"w".parse().unwrap(), Scheme::Ed25519, Generation(0));
    let switched = newer.records(bench.id(ME)).delete(Family::Shares, former);
    rig.store.write(switched, Durability::Synced).await.unwrap();
    rig.tell(0, told.encode().unwrap(), true);
    let (_, known, _) = rig.told().await;
    assert_eq!(known.record(), newer.certificate.record(), "its members are those who have to state it");
    assert_eq!(known.stated(), [rig.bench.id(0), rig.bench.id(ME)].into());
    let own = known.statements().find(|statement| statement.node == rig.bench.id(ME)).unwrap();
    assert_eq!(own.erased, [(Scheme::Ed25519, Generation(1))]);
}
