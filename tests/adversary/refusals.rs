//! One real signing actor whose peers refuse, all of its neighbours played.

use std::sync::Arc;

use quorate::error::{Code, Failure};
use quorate::ids::{NodeId, Scheme, SheetHash, Threshold};
use quorate::pairing::PairingMsg;
use quorate::registry::{PeerStatus, View};
use quorate::signing::{Signed, SigningActor, SigningMsg};
use quorate::supervision::Address;
use quorate::testing::{Bench, PATIENCE, PlantedWallet, Probe, ProbeInbox};
use quorate::transport::{Credit, Inbound, TransportMsg};
use quorate::wire::message::{PeerMessage, Service, SessionBody};
use quorate::wire::request::SignRequest;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::stage::wallet_id;

struct Rig {
    bench: Bench,
    signing: Address<SigningMsg>,
    transport: ProbeInbox<TransportMsg>,
    _pairing: ProbeInbox<PairingMsg>,
    _folder: TempDir,
}

impl Rig {
    /// Member 0 of 3-of-4, who believes that all others are ready.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let threshold = Threshold::new(3, 4).unwrap();
        let bench = Bench::new(threshold);
        let (cluster, schemes) = (&bench.settings.cluster, [Scheme::Ed25519]);
        let wallet =
            PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &wallet_id("w"), threshold, &schemes);
        let storage = bench.storage(0, folder.path()).await;
        wallet.store(bench.id(0), &bench.handle(&storage)).await;
        let (to_transport, transport) = Probe::start().await;
        let (to_pairing, pairing) = Probe::start().await;
        let args = bench.signing(0, &storage, &to_transport, &to_pairing);
        let signing = args.myself.clone();
        drop(Bench::start(SigningActor, args, &signing).await);
        let mut view = View::empty(bench.id(0), bench.peers.ids());
        for status in view.peers.values_mut() {
            *status = PeerStatus { leased: true, linked: true, serving: true, ..PeerStatus::default() };
        }
        signing.cast(SigningMsg::View(Arc::new(view))).unwrap();
        Self { bench, signing, transport, _pairing: pairing, _folder: folder }
    }

    fn ask(&self) -> JoinHandle<Result<Signed, Failure>> {
        let request = SignRequest::builder(Scheme::Ed25519, wallet_id("w"), "r".parse().unwrap(), b"message")
            .sign_with(&self.bench.initiator)
            .unwrap();
        let signing = self.signing.clone();
        tokio::spawn(async move {
            signing.call(PATIENCE, |reply| SigningMsg::Sign { request, reply }).await.expect("an answer")
        })
    }

    /// Everybody who is proposed a session, and its name.
    async fn proposals(&mut self) -> (SheetHash, Vec<NodeId>) {
        let (first, session) = self.proposal().await;
        let (second, again) = self.proposal().await;
        assert_eq!(session, again);
        (session, vec![first, second])
    }

    async fn proposal(&mut self) -> (NodeId, SheetHash) {
        self.transport.proposal().await
    }

    fn refuse(&self, from: NodeId, session: SheetHash, code: Code) {
        let body = SessionBody::Refuse { code, answer: None };
        let message = PeerMessage::Session { service: Service::Signing, session, body };
        self.signing.cast(SigningMsg::Peer(Inbound { from, message, credit: Credit::none() })).unwrap();
    }

    /// What `peer` is told at the end of a session.
    async fn abort_to(&mut self, peer: NodeId, wanted: SheetHash) -> (Code, Vec<NodeId>) {
        self.transport
            .find(|message| match message {
                TransportMsg::Send {
                    to,
                    message: PeerMessage::Session { session, body: SessionBody::Abort { code, culprits, .. }, .. },
                } if to == peer && session == wanted => Some((code, culprits)),
                _ => None,
            })
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator__should_tell_the_others_when_one_refuses() {
    let mut rig = Rig::new().await;
    let answer = rig.ask();
    let (session, asked) = rig.proposals().await;
    rig.refuse(asked[0], session, Code::ConcurrencyLimit);
    assert_eq!(rig.abort_to(asked[1], session).await, (Code::ConcurrencyLimit, vec![asked[0]]));
    let failure = answer.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::ConcurrencyLimit, [asked[0]].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator__should_try_again_while_participants_are_busy_with_the_same_request() {
    for code in [Code::SessionDuplicate, Code::Superseded] {
        let mut rig = Rig::new().await;
        let answer = rig.ask();
        let mut sessions = Vec::new();
        for turn in 0..3 {
            let (session, asked) = rig.proposals().await;
            assert!(!sessions.contains(&session), "each attempt is a session of its own");
            sessions.push(session);
            rig.refuse(asked[turn % 2], session, code);
        }
        let (session, asked) = rig.proposals().await;
        rig.refuse(asked[0], session, Code::RequestConflict);
        assert_eq!(answer.await.unwrap().unwrap_err().code, Code::RequestConflict);
    }
}
