//! One real check-up actor, all of its neighbours played.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::{CheckupActor, CheckupArgs, CheckupMsg, checkup_message};
use crate::error::Code;
use crate::ids::{ClusterId, Generation, NodeId, Scheme, SessionId, SheetHash, Threshold};
use crate::supervision::Address;
use crate::testing::{Bench, PATIENCE, PlantedWallet, Probe, ProbeInbox};
use crate::transport::TransportMsg;
use crate::wire::message::{Service, SessionBody};
use crate::wire::sheet::{SHEET_VERSION, Sheet, Task};

/// The member under test.
const ME: usize = 1;

struct Rig {
    bench: Bench,
    checkup: Address<CheckupMsg>,
    transport: ProbeInbox<TransportMsg>,
    _folder: TempDir,
}

impl Rig {
    /// A member of 2-of-3, with a wallet `w`.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let threshold = Threshold::new(2, 3).unwrap();
        let bench = Bench::new(threshold);
        let (cluster, wallet) = (&bench.settings.cluster, "w".parse().unwrap());
        let wallet =
            PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &wallet, threshold, &[Scheme::Ed25519]);
        let storage = bench.storage(ME, folder.path()).await;
        wallet.store(bench.id(ME), &bench.handle(&storage)).await;
        let (to_transport, transport) = Probe::start().await;
        let checkup = Address::default();
        let args = CheckupArgs {
            cluster: bench.settings.cluster.clone(),
            identity: Arc::clone(bench.identity(ME)),
            peers: Arc::clone(&bench.peers),
            transport: to_transport,
            storage: bench.handle(&storage),
            pairing: Address::default(),
            pool: bench.pool.clone(),
            clock: bench.clock,
            deadline: Duration::from_secs(20),
            max_concurrent: 2,
            every: None,
            myself: checkup.clone(),
        };
        drop(Bench::start(CheckupActor, args, &checkup).await);
        Self { bench, checkup, transport, _folder: folder }
    }

    /// The sheet of a check-up that member 0 coordinates, with this member.
    fn sheet(&self) -> Sheet {
        let (a, b) = (self.bench.id(0), self.bench.id(ME));
        let committee = self.bench.peers.committee().into_iter();
        Sheet {
            version: SHEET_VERSION,
            cluster: self.bench.settings.cluster.clone(),
            session: SessionId([1; 32]),
            task: Task::Checkup {
                wallet: "w".parse().unwrap(),
                scheme: Scheme::Ed25519,
                generation: Generation(0),
                threshold: self.bench.settings.threshold,
            },
            participants: committee.filter(|member| [a, b].contains(&member.node)).collect(),
            coordinator: a,
            attempt: 1,
            deadline_ms: self.bench.clock.now_ms() + 20_000,
        }
    }

    /// What the member says to a proposal of member 0.
    async fn answer(&mut self, sheet: &Sheet) -> (NodeId, SessionBody) {
        let (session, proposal) = self.bench.proposal(0, sheet);
        let inbound = self.bench.said_by(0, Service::Checkup, session, proposal);
        self.checkup.cast(CheckupMsg::Peer(inbound)).unwrap();
        self.transport.sent(session).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_take_part_only_in_check_ups_that_match_its_record() {
    let mut rig = Rig::start().await;
    let good = rig.sheet();
    let task = |wallet: &str, scheme, generation, threshold| Task::Checkup {
        wallet: wallet.parse().unwrap(),
        scheme,
        generation: Generation(generation),
        threshold,
    };
    let of_record = rig.bench.settings.threshold;
    let other = Threshold::new(2, 2).unwrap();
    let mut strangers = good.clone();
    strangers.participants[0].index = 3.try_into().unwrap();
    strangers.participants.sort_by_key(|participant| participant.index);
    let cases = [
        (Sheet { task: task("x", Scheme::Ed25519, 0, of_record), ..good.clone() }, Code::KeyNotFound),
        (Sheet { task: task("w", Scheme::Bip340, 0, of_record), ..good.clone() }, Code::KeyNotFound),
        (Sheet { task: task("w", Scheme::Ed25519, 0, other), ..good.clone() }, Code::ProtocolViolation),
        (Sheet { task: Task::PairSetup { epoch: crate::ids::Epoch(1) }, ..good.clone() }, Code::MsgValidation),
        (strangers, Code::ProtocolViolation),
    ];
    for (sheet, expected) in cases {
        let (to, body) = rig.answer(&sheet).await;
        assert_eq!(to, rig.bench.id(0));
        assert!(matches!(body, SessionBody::Refuse { code, .. } if code == expected), "{expected}: {body:?}");
    }
    let (_, body) = rig.answer(&good).await;
    assert!(matches!(body, SessionBody::Round { round: 1, .. }), "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_be_told_when_this_node_does_not_hold_the_wallet() {
    let rig = Rig::start().await;
    let asked = rig.checkup.call(PATIENCE, |reply| CheckupMsg::Check { wallet: "x".parse().unwrap(), reply });
    assert_eq!(asked.await.unwrap().unwrap_err().code, Code::KeyNotFound);
    assert_eq!(rig.checkup.call(PATIENCE, CheckupMsg::Snapshot).await.unwrap().wallets, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_be_told_of_members_that_are_not_there() {
    let rig = Rig::start().await;
    // The member has seen nobody yet, not even itself.
    let asked = rig.checkup.call(PATIENCE, |reply| CheckupMsg::Check { wallet: "w".parse().unwrap(), reply });
    let checked = asked.await.unwrap().unwrap();
    assert!(!checked.is_good());
    assert!(checked.keys[0].members.values().all(Option::is_some), "{checked:?}");
    let snapshot = rig.checkup.call(PATIENCE, CheckupMsg::Snapshot).await.unwrap();
    assert_eq!((snapshot.good, snapshot.bad), (0, 1));
}

#[test]
fn message__should_be_of_no_use_elsewhere() {
    let cluster: ClusterId = "c".parse().unwrap();
    let (one, other) = (SheetHash([1; 32]), SheetHash([2; 32]));
    assert_eq!(checkup_message(&cluster, one, Scheme::Ecdsa).len(), 32);
    assert_ne!(checkup_message(&cluster, one, Scheme::Ecdsa), checkup_message(&cluster, other, Scheme::Ecdsa));
    assert!(checkup_message(&cluster, one, Scheme::Ed25519).starts_with(b"quorate/checkup/v1"));
}
