//! Members that lie about reshares: about who asked for one, about what came of it, about what others signed, and about
//! what a wallet has become.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::error::{Code, Failure};
use quorate::identity::{Algorithm, NodeIdentity, RequestKey};
use quorate::ids::{Generation, NodeId, PartyIndex, Scheme, SessionId, SheetHash, Threshold};
use quorate::protocol::reshare::{OldKey, Reshare, ReshareOutput, ResharePlan};
use quorate::protocol::{RunContext, rng};
use quorate::reshare::{ReshareMsg, ReshareSnapshot, Reshared};
use quorate::testing::{PATIENCE, PlantedWallet, Played};
use quorate::wallet::{NextKey, RECORD_DOMAIN, WalletCertificate, WalletRecord};
use quorate::wire::message::{PeerMessage, PendingOutcome, Service, SessionBody};
use quorate::wire::request::ReshareRequest;
use quorate::wire::sheet::{DealtKey, Participant, SHEET_VERSION, Sheet, Task};
use serde_bytes::ByteArray;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::stage::{Stage, auditor, eventually, wallet_id};

const SCHEME: Scheme = Scheme::Ed25519;

/// A change to what an honest coordinator would write.
type Lie = Box<dyn Fn(&mut Sheet)>;

impl Stage {
    fn node_at(&self, rank: usize) -> NodeId {
        self.wallet.certificate.record().keys[0].committee[rank].node
    }

    fn identities(&self) -> Vec<Arc<NodeIdentity>> {
        (0..4).map(|number| Arc::clone(&self.cluster.args(number).unwrap().identity)).collect()
    }

    /// A request for the liar and both honest nodes, that all policies take.
    fn reshare_request(&self) -> ReshareRequest {
        let nodes: Vec<NodeId> = (0..3).map(|rank| self.node_at(rank)).collect();
        let session = Uuid::new_v4().to_string().parse().unwrap();
        ReshareRequest::builder(wallet_id("w"), session, 2, &nodes)
            .key_types(&[SCHEME])
            .approved_by(auditor(), &self.auditor)
            .sign_with(self.cluster.initiator())
            .unwrap()
    }

    /// The sheet that an honest coordinator would write: the liar, and with it the victim, deal.
    fn reshare_sheet(&self, request: &ReshareRequest) -> Sheet {
        let key = &self.wallet.certificate.record().keys[0];
        Sheet {
            version: SHEET_VERSION,
            cluster: self.liar.args().settings.cluster.clone(),
            session: SessionId(Uuid::new_v4().as_bytes().repeat(2).try_into().unwrap()),
            task: Task::Reshare {
                wallet: request.wallet().clone(),
                certificate: self.wallet.certificate.encode().unwrap(),
                keys: vec![DealtKey {
                    scheme: SCHEME,
                    generation: key.generation,
                    dealers: key.committee[..2].to_vec(),
                }],
                threshold: request.threshold(),
                committee: request.committee().to_vec(),
                request: request.bytes().to_vec(),
            },
            participants: request.committee().to_vec(),
            coordinator: self.liar.id(),
            attempt: 1,
            deadline_ms: self.liar.args().clock.now_ms() + 20_000,
        }
    }

    fn reshare_engine(&self, sheet: &Sheet, session: SheetHash) -> Reshare {
        let Task::Reshare { keys, threshold, committee, .. } = &sheet.task else { unreachable!() };
        let seats = |members: &[Participant]| -> BTreeMap<PartyIndex, PartyIndex> {
            members.iter().map(|member| (sheet.index_of(member.node).unwrap(), member.index)).collect()
        };
        let group = self.wallet.certificate.record().keys[0].group.clone();
        let plan = ResharePlan {
            keys: [(SCHEME, OldKey { group, dealers: seats(&keys[0].dealers) })].into(),
            threshold: *threshold,
            receivers: seats(committee),
        };
        let context = RunContext { session, me: sheet.index_of(self.liar.id()).unwrap(), parties: sheet.parties() };
        Reshare::new(context, plan, self.wallet.shares[&self.liar.id()].clone(), rng::os()).unwrap()
    }

    /// The record that came of a run.
    fn record(&self, sheet: &Sheet, session: SheetHash, output: &ReshareOutput) -> WalletRecord {
        let Task::Reshare { committee, request, .. } = &sheet.task else { unreachable!() };
        let request = ReshareRequest::parse(request).unwrap();
        let dealt_ms = Some(sheet.deadline_ms);
        let next = |group| NextKey { group, committee: committee.clone(), dealt_ms };
        let next = output.groups.values().cloned().map(next).collect();
        self.wallet.certificate.record().successor(session, request.content_hash(), next).unwrap()
    }

    async fn reshare_refused(&mut self, service: Service, sheet: &Sheet, lie: &str, expected: Code) {
        let (session, proposal) = self.liar.proposal(sheet);
        self.liar.say(self.victim(), service, session, proposal);
        match self.liar.answer(session).await {
            (_, SessionBody::Refuse { code, .. }) => assert_eq!(code, expected, "{lie}"),
            other => panic!("{lie}: {other:?}"),
        }
    }

    fn ask_reshare(&self, which: usize, request: ReshareRequest) -> JoinHandle<Result<Reshared, Failure>> {
        let reshare = self.honest(which).addresses().reshare.clone();
        tokio::spawn(async move {
            reshare.call(PATIENCE, |reply| ReshareMsg::Reshare { request, reply }).await.expect("an answer")
        })
    }

    async fn until_resharing(&self, which: usize, condition: impl Fn(&ReshareSnapshot) -> bool) {
        eventually(|| async {
            let snapshot = self.honest(which).addresses().reshare.call(PATIENCE, ReshareMsg::Snapshot).await.unwrap();
            condition(&snapshot).then_some(())
        })
        .await;
    }

    async fn generation(&self, which: usize) -> Generation {
        let wallet = self.honest(which).wallet(wallet_id("w")).await.unwrap().unwrap();
        wallet.record().keys[0].generation
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn participant__should_refuse_a_reshare_that_nobody_asked_for_or_that_is_not_what_it_knows() {
    let mut stage = Stage::new().await;
    let request = stage.reshare_request();
    let nodes: Vec<NodeId> = (0..3).map(|rank| stage.node_at(rank)).collect();
    let builder = || ReshareRequest::builder(wallet_id("w"), "s".parse().unwrap(), 2, &nodes).key_types(&[SCHEME]);
    let stranger = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let unauthorised = builder().approved_by(auditor(), &stage.auditor).sign_with(&stranger).unwrap();
    let unapproved = builder().sign_with(stage.cluster.initiator()).unwrap();
    for (request, code) in
        [(unauthorised, Code::InvalidInitiatorSignature), (unapproved, Code::MissingAuthorizerSignature)]
    {
        let sheet = stage.reshare_sheet(&request);
        stage.reshare_refused(Service::Reshare, &sheet, "an invented request", code).await;
    }
    let (identities, peers) = (stage.identities(), Arc::clone(&stage.liar.args().peers));
    let next = stage.wallet.reshared(&peers, &identities, request.committee(), request.threshold());
    let lies: [(&str, Code, Lie); 6] = [
        ("another wallet's certificate", Code::ReshareInProgress, {
            let other = stage.other_wallet.certificate.encode().unwrap();
            Box::new(move |sheet| {
                if let Task::Reshare { certificate, .. } = &mut sheet.task {
                    certificate.clone_from(&other);
                }
            })
        }),
        ("a certificate that the victim does not know", Code::ReshareInProgress, {
            let next = next.certificate.encode().unwrap();
            Box::new(move |sheet| {
                if let Task::Reshare { certificate, .. } = &mut sheet.task {
                    certificate.clone_from(&next);
                }
            })
        }),
        ("no certificate", Code::ProtocolViolation, {
            Box::new(|sheet| {
                if let Task::Reshare { certificate, .. } = &mut sheet.task {
                    certificate.clear();
                }
            })
        }),
        ("another generation", Code::SessionStale, {
            Box::new(|sheet| {
                if let Task::Reshare { keys, .. } = &mut sheet.task {
                    keys[0].generation = Generation(1);
                }
            })
        }),
        ("another threshold than was asked for", Code::ProtocolViolation, {
            Box::new(|sheet| {
                if let Task::Reshare { threshold, .. } = &mut sheet.task {
                    *threshold = Threshold::new(3, 3).unwrap();
                }
            })
        }),
        ("too few dealers", Code::ProtocolViolation, {
            Box::new(|sheet| {
                if let Task::Reshare { keys, .. } = &mut sheet.task {
                    keys[0].dealers.truncate(1);
                }
            })
        }),
    ];
    for (lie, code, change) in lies {
        let mut sheet = stage.reshare_sheet(&request);
        change(&mut sheet);
        stage.reshare_refused(Service::Reshare, &sheet, lie, code).await;
    }
    let prove = Sheet {
        task: Task::Prove {
            wallet: wallet_id("w"),
            reshare: SheetHash([1; 32]),
            scheme: SCHEME,
            generation: Generation(1),
            threshold: request.threshold(),
            signatures: BTreeMap::new(),
        },
        participants: request.committee()[..2].to_vec(),
        ..stage.reshare_sheet(&request)
    };
    stage.reshare_refused(Service::Proof, &prove, "nothing is pending", Code::KeyNotFound).await;
    // An honest proposal is answered with the first round.
    let sheet = stage.reshare_sheet(&request);
    let (session, proposal) = stage.liar.proposal(&sheet);
    stage.liar.say(stage.victim(), Service::Reshare, session, proposal);
    assert!(matches!(stage.liar.answer(session).await, (_, SessionBody::Round { round: 1, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn participant__should_refuse_a_refresh_by_schedule_that_its_own_schedule_does_not_know() {
    let mut stage = Stage::new().await;
    let everybody: Vec<NodeId> = (0..4).map(|rank| stage.node_at(rank)).collect();
    let request = stage.reshare_request();
    let unasked = |sheet: &mut Sheet| {
        if let Task::Reshare { request, .. } = &mut sheet.task {
            request.clear();
        }
    };
    // Nobody asked, and the victim refreshes no wallets by itself: not even to the committee that there is.
    let mut sheet = stage.reshare_sheet(&request);
    unasked(&mut sheet);
    stage.reshare_refused(Service::Reshare, &sheet, "another committee", Code::RefreshNotDue).await;
    let session = "s".parse().unwrap();
    let same = ReshareRequest::builder(wallet_id("w"), session, 2, &everybody).key_types(&[SCHEME]);
    let same = same.approved_by(auditor(), &stage.auditor).sign_with(stage.cluster.initiator()).unwrap();
    let mut sheet = stage.reshare_sheet(&same);
    unasked(&mut sheet);
    stage.reshare_refused(Service::Reshare, &sheet, "the same committee", Code::RefreshNotDue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_take_no_certificate_but_one_that_follows_its_own() {
    let mut stage = Stage::new().await;
    let (identities, peers) = (stage.identities(), Arc::clone(&stage.liar.args().peers));
    let (record, threshold) = (stage.wallet.certificate.record().clone(), Threshold::new(2, 4).unwrap());
    let committee = record.keys[0].committee.clone();
    // Other keys under the wallet's name; the wallet of another name; nothing at all.
    let invented = PlantedWallet::deal(&record.cluster, &peers, &identities, &record.wallet, threshold, &[SCHEME]);
    let invented_next = invented.reshared(&peers, &identities, &committee, threshold);
    let other_next = stage.other_wallet.reshared(&peers, &identities, &committee, threshold);
    let lies = [
        invented.certificate.encode().unwrap(),
        invented_next.certificate.encode().unwrap(),
        other_next.certificate.encode().unwrap(),
        b"nonsense".to_vec(),
    ];
    let next = stage.wallet.reshared(&peers, &identities, &committee, threshold);
    let later = next.reshared(&peers, &identities, &committee, threshold);
    // A certificate whose proof is that of another record of the same key.
    let mut forged = later.certificate.encode().unwrap();
    let (right, wrong) =
        (later.certificate.proofs()[&SCHEME].to_bytes(), next.certificate.proofs()[&SCHEME].to_bytes());
    let at = forged.windows(64).position(|window| window == right).unwrap();
    forged[at..at + 64].copy_from_slice(&wrong);
    assert!(WalletCertificate::decode(&forged, &peers).is_err());
    for certificate in lies.into_iter().chain([forged]) {
        for which in 0..2 {
            let node = stage.honest(which).id();
            let wallet = record.wallet.clone();
            stage.liar.send(node, PeerMessage::Reshared { wallet, certificate: certificate.clone() });
        }
    }
    let wallet = record.wallet.clone();
    let certificate = next.certificate.encode().unwrap();
    stage.liar.send(stage.victim(), PeerMessage::Reshared { wallet, certificate });
    let knows = |from, message| match message {
        PeerMessage::KnowsReshared { session, .. } => Some((from, session)),
        _ => None,
    };
    let (_, session) = stage.liar.hear(knows).await;
    assert_eq!(session, next.certificate.record().session, "the first one that is taken");
    eventually(|| async { (stage.generation(0).await == Generation(1)).then_some(()) }).await;
    // The other honest node is told by the victim, which knows it to be concerned.
    eventually(|| async { (stage.generation(1).await == Generation(1)).then_some(()) }).await;
    // One that was certified in between is told late, and changes nothing.
    let wallet = record.wallet.clone();
    let certificate = stage.wallet.certificate.encode().unwrap();
    stage.liar.send(stage.victim(), PeerMessage::Reshared { wallet, certificate });
    let (_, session) =
        stage.liar.hear(|from, message| knows(from, message).filter(|(_, s)| *s == record.session)).await;
    assert_eq!((session, stage.generation(0).await), (record.session, Generation(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_prove_nothing_before_all_have_signed_and_roll_back_when_the_liar_says_it_holds_nothing() {
    let mut stage = Stage::new().await;
    let request = stage.reshare_request();
    let sheet = stage.reshare_sheet(&request);
    let (session, proposal) = stage.liar.proposal(&sheet);
    for which in 0..2 {
        let (bytes, _) = sheet.seal().unwrap();
        let _ = &proposal;
        let body = stage.liar.proposal_of(bytes, session);
        stage.liar.say(stage.honest(which).id(), Service::Reshare, session, body);
    }
    let party = Box::new(stage.reshare_engine(&sheet, session));
    let Played::Done(output) = stage.liar.play(Service::Reshare, &sheet, session, party, |_, _| true).await else {
        panic!("an honest run")
    };
    let record = stage.record(&sheet, session, &output);
    // Both honest members sign; the liar, who would have to prove, does not.
    let mut signatures: BTreeMap<NodeId, ByteArray<64>> = BTreeMap::new();
    while signatures.len() < 2 {
        if let (from, SessionBody::RecordSigned { signature }) = stage.liar.answer(session).await {
            signatures.insert(from, ByteArray::new(signature));
        }
    }
    let prove = |signatures: &BTreeMap<NodeId, ByteArray<64>>, stage: &Stage| Sheet {
        session: SessionId(Uuid::new_v4().as_bytes().repeat(2).try_into().unwrap()),
        task: Task::Prove {
            wallet: wallet_id("w"),
            reshare: session,
            scheme: SCHEME,
            generation: Generation(1),
            threshold: request.threshold(),
            signatures: signatures.clone(),
        },
        participants: request.committee()[..2].to_vec(),
        ..stage.reshare_sheet(&request)
    };
    let without = prove(&signatures, &stage);
    stage.reshare_refused(Service::Proof, &without, "a signature is missing", Code::ProtocolViolation).await;
    let mut forged = signatures.clone();
    forged.insert(stage.liar.id(), ByteArray::new([7; 64]));
    let forged = prove(&forged, &stage);
    stage.reshare_refused(Service::Proof, &forged, "a signature is forged", Code::ProtocolViolation).await;
    // With the right one the victim takes part.
    let bytes = record.encode().unwrap();
    let mut all = signatures.clone();
    let own = stage.liar.args().identity.sign(RECORD_DOMAIN, &[&bytes]);
    all.insert(stage.liar.id(), ByteArray::new(own));
    let complete = prove(&all, &stage);
    let (proof, proposal) = stage.liar.proposal(&complete);
    stage.liar.say(stage.victim(), Service::Proof, proof, proposal);
    assert!(matches!(stage.liar.answer(proof).await, (_, SessionBody::Round { round: 1, .. })));
    let end = SessionBody::Abort { code: Code::Cancelled, culprits: Vec::new(), round: 0 };
    stage.liar.say(stage.victim(), Service::Proof, proof, end);

    // The liar gives the run up, and says that it never signed.
    for which in 0..2 {
        let end = SessionBody::Abort { code: Code::Cancelled, culprits: Vec::new(), round: 0 };
        stage.liar.say(stage.honest(which).id(), Service::Reshare, session, end);
    }
    let mut asked = std::collections::BTreeSet::new();
    while asked.len() < 2 {
        let from =
            stage.liar.hear(|from, message| matches!(message, PeerMessage::ReshareQuery { .. }).then_some(from)).await;
        let outcome = PendingOutcome::Absent;
        stage.liar.send(from, PeerMessage::ReshareReply { wallet: wallet_id("w"), session, outcome });
        asked.insert(from);
    }
    for which in 0..2 {
        stage.until_resharing(which, |snapshot| snapshot.unsettled.is_empty() && snapshot.running.is_empty()).await;
        assert_eq!(stage.generation(which).await, Generation(0));
    }
    stage.honest_signing_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator__should_name_who_signs_something_else_than_the_record() {
    let mut stage = Stage::new().await;
    stage.liar_serves(true).await;
    let answer = stage.ask_reshare(0, stage.reshare_request());
    let (_, sheet, session) = stage.liar.proposed(Service::Reshare).await;
    let party = Box::new(stage.reshare_engine(&sheet, session));
    let Played::Done(_) = stage.liar.play(Service::Reshare, &sheet, session, party, |_, _| true).await else {
        panic!("an honest run")
    };
    for which in 0..2 {
        let body = SessionBody::RecordSigned { signature: [7; 64] };
        stage.liar.say(stage.honest(which).id(), Service::Reshare, session, body);
    }
    let failure = answer.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [stage.liar.id()].into()));
    stage.honest_signing_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator__should_name_a_dealer_that_deals_wrongly_and_leave_nothing_behind() {
    let mut stage = Stage::new().await;
    stage.liar_serves(true).await;
    for round in [1, 3] {
        let answer = stage.ask_reshare(0, stage.reshare_request());
        let (_, sheet, session) = stage.liar.proposed(Service::Reshare).await;
        let party = Box::new(stage.reshare_engine(&sheet, session));
        stage
            .liar
            .play(Service::Reshare, &sheet, session, party, |_, outgoing| {
                if outgoing.round == round {
                    let last = outgoing.payload.len() - 1;
                    outgoing.payload[last] ^= 1;
                }
                true
            })
            .await;
        let failure = answer.await.unwrap().unwrap_err();
        // Altered commitments may be well-formed: then the liar's own engine says that it sent something else.
        let expected = [Code::ProtocolViolation, Code::Equivocation];
        assert!(expected.contains(&failure.code), "{round}: {failure}");
        assert_eq!(failure.culprits, [stage.liar.id()].into(), "{round}");
        for which in 0..2 {
            stage.until_resharing(which, |snapshot| snapshot.unsettled.is_empty() && snapshot.running.is_empty()).await;
        }
    }
    stage.honest_signing_works().await;
}
