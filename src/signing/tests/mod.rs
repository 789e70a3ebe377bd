//! One real signing actor, all of its neighbours played.

mod answers;
mod generations;
mod inquiries;
mod limits;
mod starting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{RequestKey, Signed, SigningActor, SigningArgs, SigningMsg, SigningSnapshot};
use crate::error::Failure;
use crate::ids::{Epoch, NodeId, Scheme, SheetHash, Threshold, WalletId};
use crate::pairing::{PairUnavailable, PairingMsg};
use crate::protocol::pair::{PairState, testbed};
use crate::registry::{PeerStatus, View};
use crate::session::CryptoPool;
use crate::storage::StorageHandle;
use crate::supervision::Address;
use crate::testing::{Bench, PATIENCE, PlantedWallet, Probe, ProbeInbox, Silence};
use crate::transport::{PeerEvent, TransportMsg};
use crate::wire::message::{Service, SessionBody};
use crate::wire::request::SignRequest;
use crate::wire::sheet::Sheet;

/// The member under test; those of lower numbers win over it.
const ME: usize = 1;

type States = BTreeMap<NodeId, Arc<PairState>>;

struct Rig {
    bench: Bench,
    store: StorageHandle,
    wallet: PlantedWallet,
    args: SigningArgs,
    signing: Address<SigningMsg>,
    transport: ProbeInbox<TransportMsg>,
    pairing: ProbeInbox<PairingMsg>,
    _folder: TempDir,
}

impl Rig {
    /// A member of 2-of-3, with a wallet `w`, who believes that all others are ready.
    async fn start(change: impl FnOnce(&mut SigningArgs)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let threshold = Threshold::new(2, 3).unwrap();
        let mut bench = Bench::new(threshold);
        bench.pool = CryptoPool::new(1);
        let (cluster, schemes) = (&bench.settings.cluster, [Scheme::Ecdsa, Scheme::Ed25519]);
        let wallet =
            PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &wallet_id("w"), threshold, &schemes);
        let storage = bench.storage(ME, folder.path()).await;
        let store = bench.handle(&storage);
        wallet.store(bench.id(ME), &store).await;
        let (to_transport, transport) = Probe::start().await;
        let (to_pairing, pairing) = Probe::start().await;
        let mut args = bench.signing(ME, &storage, &to_transport, &to_pairing);
        change(&mut args);
        let signing = args.myself.clone();
        drop(Bench::start(SigningActor, args.clone(), &signing).await);
        let mut view = View::empty(bench.id(ME), bench.peers.ids());
        let epochs: BTreeMap<_, _> = bench.peers.ids().map(|peer| (peer, [Epoch(1)].into())).collect();
        for status in view.peers.values_mut() {
            let (own_epochs, announced) = ([Epoch(1)].into(), epochs.clone());
            *status = PeerStatus {
                leased: true,
                linked: true,
                serving: true,
                own_epochs,
                announced,
                ..PeerStatus::default()
            };
        }
        signing.cast(SigningMsg::View(Arc::new(view))).unwrap();
        Self { bench, store, wallet, args, signing, transport, pairing, _folder: folder }
    }

    fn request(&self, scheme: Scheme, id: &str) -> SignRequest {
        let builder = SignRequest::builder(scheme, wallet_id("w"), id.parse().unwrap(), &[7; 32]);
        builder.sign_with(&self.bench.initiator).unwrap()
    }

    fn key(&self, id: &str) -> RequestKey {
        RequestKey { wallet: wallet_id("w"), request: id.parse().unwrap() }
    }

    /// A client of the member asks for a signature.
    fn ask(&self, scheme: Scheme, id: &str) -> JoinHandle<Result<Signed, Failure>> {
        let (signing, request) = (self.signing.clone(), self.request(scheme, id));
        tokio::spawn(async move {
            signing.call(PATIENCE, |reply| SigningMsg::Sign { request, reply }).await.expect("an answer")
        })
    }

    /// The sheet of member 0 for an Ed25519 request, to be through within this time.
    fn sheet(&self, id: &str, within: Duration) -> Sheet {
        let request = self.request(Scheme::Ed25519, id);
        let deadline_ms = self.bench.clock.now_ms() + u64::try_from(within.as_millis()).unwrap();
        self.wallet.sheet(&request, self.bench.id(0), &[self.bench.id(0), self.bench.id(ME)], deadline_ms)
    }

    fn propose(&self, sheet: &Sheet) -> SheetHash {
        let (session, proposal) = self.bench.proposal(0, sheet);
        let inbound = self.bench.said_by(0, Service::Signing, session, proposal);
        self.signing.cast(SigningMsg::Peer(inbound)).unwrap();
        session
    }

    /// Member 0 proposes a session, and the member under test takes part.
    async fn joined(&mut self, id: &str, within: Duration) -> SheetHash {
        let session = self.propose(&self.sheet(id, within));
        assert!(matches!(self.said(session).await, SessionBody::Round { round: 1, .. }));
        session
    }

    /// Whom the member proposes a session to next, and its name.
    async fn proposal(&mut self) -> (NodeId, SheetHash) {
        self.transport.proposal().await
    }

    /// What is said next in a session.
    async fn said(&mut self, session: SheetHash) -> SessionBody {
        self.transport.sent(session).await.1
    }

    /// The next question for pair states, with all that answer it.
    async fn pair_states(&mut self) -> (RpcReplyPort<Result<States, PairUnavailable>>, States) {
        let (peers, reply) = self
            .pairing
            .find(|message| match message {
                PairingMsg::States { peers, reply, .. } => Some((peers, reply)),
                _ => None,
            })
            .await;
        let [half, _] = &testbed::established()[0];
        (reply, peers.into_iter().map(|peer| (peer, Arc::clone(half))).collect())
    }

    async fn silence(&self) -> Silence {
        Silence::of(&self.bench.pool, 1).await
    }

    async fn snapshot(&self) -> SigningSnapshot {
        self.signing.call(PATIENCE, SigningMsg::Snapshot).await.unwrap()
    }
}

fn wallet_id(name: &str) -> WalletId {
    name.parse().unwrap()
}
