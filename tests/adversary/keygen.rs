//! Members that lie in key generations.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::error::{Code, Failure};
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::{Epoch, NodeId, PartyIndex, Scheme, SessionId, SheetHash, Threshold, WalletId};
use quorate::keygen::{Generated, KeygenMsg, KeygenSnapshot};
use quorate::keys::{ChainCode, DerivationPath};
use quorate::local_cluster::LocalCluster;
use quorate::node::{NodeHandle, Settings};
use quorate::protocol::keygen::{Keygen, KeygenOutput};
use quorate::protocol::{Outgoing, Party, Recipient, RunContext, rng};
use quorate::signing::MAX_DEADLINE_AHEAD_MS;
use quorate::testing::{PATIENCE, PlantedWallet, Played, Puppet};
use quorate::wallet::{RECORD_DOMAIN, WalletRecord};
use quorate::wire::message::{PeerMessage, PendingOutcome, Service, SessionBody};
use quorate::wire::request::KeygenRequest;
use quorate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::stage::{check, eventually, log, wallet_id};

const CHAIN_CODE: ChainCode = ChainCode([3; 32]);

/// Two honest nodes and a liar, who all hold shares of every new wallet.
struct Stage {
    cluster: LocalCluster,
    liar: Puppet,
    honest: [usize; 2],
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        log();
        let folder = tempfile::tempdir().unwrap();
        let threshold = Threshold::new(2, 3).unwrap();
        let mut settings = Settings::new("stage".parse().unwrap(), threshold);
        settings.chain_code = Some(CHAIN_CODE);
        settings.resolve_every = Duration::from_millis(200);
        let mut cluster = LocalCluster::prepare(folder.path(), &settings, |policy| policy).unwrap();
        PlantedWallet::in_cluster(&cluster, &wallet_id("taken"), threshold, &[Scheme::Ed25519]).await;
        let mut numbers = [0, 1, 2];
        numbers.sort_by_key(|&number| cluster.args(number).unwrap().identity.id());
        let liar = Puppet::start(cluster.args(numbers[0]).unwrap()).await;
        for &number in &numbers[1..] {
            cluster.start(number).await.unwrap();
        }
        let mut stage = Self { cluster, liar, honest: [numbers[1], numbers[2]], _folder: folder };
        let honest = [stage.node(0).id(), stage.node(1).id()];
        stage.liar.until_linked(honest).await;
        stage.liar.serve(true);
        let ready = stage.cluster.until(|view| view.is_complete(Scheme::Ed25519));
        timeout(PATIENCE, ready).await.unwrap().unwrap();
        stage
    }

    fn node(&self, which: usize) -> &NodeHandle {
        self.cluster.node(self.honest[which]).unwrap()
    }

    fn victim(&self) -> NodeId {
        self.node(0).id()
    }

    fn request(&self, wallet: &str) -> KeygenRequest {
        self.cluster.keygen_request(&wallet_id(wallet), &[Scheme::Ed25519]).unwrap()
    }

    /// The sheet that an honest coordinator would write, with the liar as the coordinator.
    fn sheet(&self, request: &KeygenRequest) -> Sheet {
        let args = self.liar.args();
        Sheet {
            version: SHEET_VERSION,
            cluster: args.settings.cluster.clone(),
            session: SessionId(Uuid::new_v4().as_bytes().repeat(2).try_into().unwrap()),
            task: Task::Keygen {
                wallet: request.wallet().clone(),
                schemes: request.schemes(),
                threshold: args.settings.threshold,
                request: request.bytes().to_vec(),
            },
            participants: args.peers.committee(),
            coordinator: self.liar.id(),
            attempt: 1,
            deadline_ms: args.clock.now_ms() + 20_000,
        }
    }

    fn propose(&self, to: NodeId, sheet: &Sheet) -> SheetHash {
        let (session, proposal) = self.liar.proposal(sheet);
        self.liar.say(to, Service::Keygen, session, proposal);
        session
    }

    async fn refused(&mut self, sheet: &Sheet, lie: &str, expected: Code) {
        let session = self.propose(self.victim(), sheet);
        match self.liar.answer(session).await {
            (_, SessionBody::Refuse { code, answer: None }) => assert_eq!(code, expected, "{lie}"),
            other => panic!("{lie}: {other:?}"),
        }
    }

    /// A client of an honest node asks for a wallet, and the liar is asked to take part.
    async fn ask(&mut self, which: usize, wallet: &str) -> Asked {
        let (keygen, request) = (self.node(which).addresses().keygen.clone(), self.request(wallet));
        let answer = tokio::spawn(async move {
            keygen.call(PATIENCE, |reply| KeygenMsg::Generate { request, reply }).await.expect("an answer")
        });
        let (_, sheet, session) = self.liar.proposed(Service::Keygen).await;
        Asked { answer, sheet, session }
    }

    /// The liar takes part with a real engine.
    async fn play(
        &mut self,
        sheet: &Sheet,
        session: SheetHash,
        bend: impl FnMut(NodeId, &mut Outgoing) -> bool,
    ) -> Played<KeygenOutput> {
        let party = Box::new(self.engine(sheet, session));
        self.liar.play(Service::Keygen, sheet, session, party, bend).await
    }

    fn engine(&self, sheet: &Sheet, session: SheetHash) -> Keygen {
        let Task::Keygen { schemes, threshold, .. } = &sheet.task else { unreachable!() };
        let me = sheet.index_of(self.liar.id()).unwrap();
        let context = RunContext { session, me, parties: sheet.parties() };
        let schemes = schemes.iter().copied().collect();
        Keygen::new(context, *threshold, &schemes, rng::os()).unwrap()
    }

    /// The liar takes part twice: each honest node meets another engine, with another polynomial, true to itself.
    async fn play_double(&mut self, sheet: &Sheet, session: SheetHash) {
        let mut engines = [self.engine(sheet, session), self.engine(sheet, session)];
        let mut steps = engines.each_mut().map(|engine| engine.start().unwrap().send);
        let me = sheet.index_of(self.liar.id()).unwrap();
        loop {
            for (which, outgoing) in
                steps.iter().enumerate().flat_map(|(which, send)| send.iter().map(move |o| (which, o)))
            {
                let node = self.node(which).id();
                let to = match outgoing.to {
                    Recipient::All => None,
                    Recipient::One(index) if sheet.node_at(index) == Some(node) => Some(index),
                    Recipient::One(_) => continue,
                };
                let body = self.liar.round(session, me, to, outgoing.round, &outgoing.payload);
                self.liar.say(node, Service::Keygen, session, body);
            }
            let (from, body) = self.liar.answer(session).await;
            let SessionBody::Round { round, payload, .. } = body else { return };
            let from = sheet.index_of(from).unwrap();
            // Each engine notices the split itself, and says no more.
            steps = engines
                .each_mut()
                .map(|engine| engine.receive(from, round, &payload.0).map(|step| step.send).unwrap_or_default());
        }
    }

    /// The liar's signature of the record that came of a run.
    fn signature(&self, sheet: &Sheet, session: SheetHash, output: &KeygenOutput) -> [u8; 64] {
        let Task::Keygen { wallet, .. } = &sheet.task else { unreachable!() };
        let groups = output.shares.values().map(|share| share.group().clone()).collect();
        let cluster = sheet.cluster.clone();
        let record = WalletRecord::new(cluster, wallet.clone(), session, CHAIN_CODE, groups, &sheet.participants);
        self.liar.args().identity.sign(RECORD_DOMAIN, &[&record.unwrap().dealt_by(sheet.deadline_ms).encode().unwrap()])
    }

    fn signed(&self, to: NodeId, session: SheetHash, signature: [u8; 64]) {
        self.liar.say(to, Service::Keygen, session, SessionBody::RecordSigned { signature });
    }

    async fn snapshot(&self, which: usize) -> KeygenSnapshot {
        self.node(which).addresses().keygen.call(PATIENCE, KeygenMsg::Snapshot).await.unwrap()
    }

    async fn until(&self, which: usize, condition: impl Fn(&KeygenSnapshot) -> bool) -> KeygenSnapshot {
        eventually(|| async { Some(self.snapshot(which).await).filter(|snapshot| condition(snapshot)) }).await
    }

    async fn wallet_is_everywhere(&self, wallet: &str) {
        for which in 0..2 {
            eventually(|| async { self.node(which).wallet(wallet_id(wallet)).await.unwrap() }).await;
        }
    }

    async fn wallet_is_nowhere(&self, wallet: &str) {
        for which in 0..2 {
            let idle = |snapshot: &KeygenSnapshot| snapshot.running.is_empty() && snapshot.unsettled.is_empty();
            self.until(which, idle).await;
            assert_eq!(self.node(which).wallet(wallet_id(wallet)).await.unwrap(), None);
        }
    }

    /// The honest nodes sign with a wallet that they have.
    async fn honest_signing_works(&self) {
        let (wallet, id) = (wallet_id("taken"), Uuid::new_v4().to_string().parse().unwrap());
        let path = DerivationPath::default();
        let request = self.cluster.sign_request(Scheme::Ed25519, &wallet, &id, path, b"message").unwrap();
        self.liar.serve(false);
        let liar = self.liar.id();
        let seen = self.cluster.until(|view| !view.ready().contains(&liar));
        timeout(PATIENCE, seen).await.unwrap().unwrap();
        check(&self.node(0).sign(request.clone()).await, &request);
        self.liar.serve(true);
        let seen = self.cluster.until(|view| view.ready().contains(&liar));
        timeout(PATIENCE, seen).await.unwrap().unwrap();
    }
}

/// A key generation that the liar is to take part in.
struct Asked {
    answer: JoinHandle<Result<Generated, Failure>>,
    sheet: Sheet,
    session: SheetHash,
}

impl Asked {
    async fn failure(self) -> Failure {
        self.answer.await.unwrap().expect_err("a failure")
    }
}

type Lie = (&'static str, fn(&mut Sheet, &Stage), Code);

macro_rules! task {
    ($sheet:ident, $field:ident) => {{
        let Task::Keygen { $field, .. } = &mut $sheet.task else { unreachable!() };
        $field
    }};
}

const LIES: &[Lie] = &[
    ("another t", |s, _| *task!(s, threshold) = threshold(3, 3), Code::ProtocolViolation),
    ("another n", |s, _| *task!(s, threshold) = threshold(2, 2), Code::MsgValidation),
    ("another wallet", |s, _| *task!(s, wallet) = wallet_id("another"), Code::ProtocolViolation),
    ("another scheme", |s, _| *task!(s, schemes) = vec![Scheme::Bip340], Code::ProtocolViolation),
    ("one more scheme", |s, _| task!(s, schemes).push(Scheme::Bip340), Code::ProtocolViolation),
    ("a scheme twice", |s, _| task!(s, schemes).push(Scheme::Ed25519), Code::MsgValidation),
    ("no scheme", |s, _| task!(s, schemes).clear(), Code::MsgValidation),
    ("no request", |s, _| task!(s, request).clear(), Code::UnmarshalFailure),
    ("members in each other's seats", |s, _| swap(&mut s.participants), Code::ProtocolViolation),
    ("a stranger", |s, _| s.participants[2].node = NodeId(Uuid::new_v4()), Code::ProtocolViolation),
    ("a member twice", |s, _| s.participants[2].node = s.participants[1].node, Code::MsgValidation),
    ("a member left out", |s, _| s.participants.truncate(2), Code::MsgValidation),
    ("indices with a gap", |s, _| s.participants[2].index = PartyIndex::try_from(4).unwrap(), Code::MsgValidation),
    ("another's coordination", |s, stage| s.coordinator = stage.victim(), Code::ProtocolViolation),
    ("another cluster", |s, _| s.cluster = "elsewhere".parse().unwrap(), Code::MsgValidation),
    ("another version", |s, _| s.version = 0, Code::MsgValidation),
    ("a deadline that is past", |s, _| s.deadline_ms = 1, Code::SessionStale),
    ("a deadline far ahead", |s, _| s.deadline_ms += 2 * MAX_DEADLINE_AHEAD_MS, Code::MsgValidation),
    ("two seats of a pair setup", |s, _| pair(s), Code::MsgValidation),
];

fn threshold(t: u8, n: u8) -> Threshold {
    Threshold::new(t, n).unwrap()
}

fn swap(participants: &mut [Participant]) {
    let nodes = [participants[2].node, participants[1].node];
    [participants[1].node, participants[2].node] = nodes;
}

fn pair(sheet: &mut Sheet) {
    sheet.task = Task::PairSetup { epoch: Epoch(1) };
    sheet.participants.truncate(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen_proposal__should_be_refused_by_name_when_the_sheet_lies() {
    let mut stage = Stage::new().await;
    for (number, &(lie, spoil, code)) in LIES.iter().enumerate() {
        let mut sheet = stage.sheet(&stage.request(&format!("w{number}")));
        spoil(&mut sheet, &stage);
        stage.refused(&sheet, lie, code).await;
    }
    let sheet = stage.sheet(&stage.request("taken"));
    stage.refused(&sheet, "a wallet that is there", Code::KeyAlreadyExists).await;

    let forger = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let builder = KeygenRequest::builder(wallet_id("forged")).key_types(&[Scheme::Ed25519]);
    let sheet = stage.sheet(&builder.sign_with(&forger).unwrap());
    stage.refused(&sheet, "signed by a stranger", Code::InvalidInitiatorSignature).await;
    let unsigned = br#"{"wallet_id":"forged","key_types":["ed25519"]}"#;
    let sheet = stage.sheet(&KeygenRequest::parse(unsigned).unwrap());
    stage.refused(&sheet, "signed by nobody", Code::InvalidInitiatorSignature).await;

    let sheet = stage.sheet(&stage.request("named"));
    let (_, proposal) = stage.liar.proposal(&sheet);
    let name = SheetHash([5; 32]);
    stage.liar.say(stage.victim(), Service::Keygen, name, proposal);
    let answer = stage.liar.answer(name).await.1;
    assert!(matches!(answer, SessionBody::Refuse { code: Code::ProtocolViolation, .. }), "{answer:?}");

    // Without a lie the same sheet is taken, and what the victim began ends with the liar's word.
    let sheet = stage.sheet(&stage.request("good"));
    let session = stage.propose(stage.victim(), &sheet);
    assert!(matches!(stage.liar.answer(session).await.1, SessionBody::Round { round: 1, .. }));
    let end = SessionBody::Abort { code: Code::Cancelled, culprits: vec![], round: 1 };
    stage.liar.say(stage.victim(), Service::Keygen, session, end);
    stage.wallet_is_nowhere("good").await;
    stage.honest_signing_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen_proposal__should_start_one_session_however_often_it_comes() {
    let mut stage = Stage::new().await;
    for number in 0..5 {
        let wallet = format!("often{number}");
        let sheet = stage.sheet(&stage.request(&wallet));
        let mut session = SheetHash([0; 32]);
        for _ in 0..5 {
            for which in 0..2 {
                session = stage.propose(stage.node(which).id(), &sheet);
            }
        }
        // A node that ran twice would seem to have opened another commitment than its own, and be blamed for it.
        let Played::Done(output) = stage.play(&sheet, session, |_, _| true).await else {
            panic!("a key generation in which nobody lies did not succeed")
        };
        let signature = stage.signature(&sheet, session, &output);
        for which in 0..2 {
            stage.signed(stage.node(which).id(), session, signature);
        }
        stage.wallet_is_everywhere(&wallet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dealer__should_not_make_a_wallet_of_different_commitments() {
    let mut stage = Stage::new().await;
    let liar = stage.liar.id();
    for which in 0..2 {
        let wallet = format!("split{which}");
        let asked = stage.ask(which, &wallet).await;
        stage.play_double(&asked.sheet, asked.session).await;
        let failure = asked.failure().await;
        assert_eq!(failure.code, Code::Equivocation);
        assert!(failure.culprits.is_subset(&[liar].into()), "no honest node is named: {failure:?}");
        for which in 0..2 {
            let last = stage.until(which, |snapshot| snapshot.running.is_empty()).await.last_abort.unwrap();
            assert_eq!(last.code, Code::Equivocation);
            assert!(last.culprits.is_subset(&[liar].into()), "{last:?}");
        }
        stage.wallet_is_nowhere(&wallet).await;
    }
    stage.honest_signing_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participant__should_be_named_for_a_spoilt_message_and_leave_no_wallet() {
    let mut stage = Stage::new().await;
    let liar = stage.liar.id();
    for round in 1..=4 {
        let wallet = format!("spoilt{round}");
        let asked = stage.ask(0, &wallet).await;
        let (sheet, session) = (asked.sheet.clone(), asked.session);
        let played = stage.play(&sheet, session, |_, outgoing| {
            if outgoing.round == round {
                let len = outgoing.payload.len();
                outgoing.payload.truncate(len - 1);
            }
            true
        });
        drop(played.await);
        let failure = asked.failure().await;
        assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [liar].into()), "round {round}");
        stage.wallet_is_nowhere(&wallet).await;
    }
    // It may refuse, and the same request may be sent again at once.
    let asked = stage.ask(0, "again").await;
    let refusal = SessionBody::Refuse { code: Code::StorageRead, answer: None };
    stage.liar.say(stage.victim(), Service::Keygen, asked.session, refusal);
    let failure = asked.failure().await;
    assert_eq!((failure.code, failure.culprits), (Code::StorageRead, [liar].into()));
    let asked = stage.ask(0, "again").await;
    let (sheet, session) = (asked.sheet.clone(), asked.session);
    let Played::Done(output) = stage.play(&sheet, session, |_, _| true).await else { panic!("nobody lied") };
    let signature = stage.signature(&sheet, session, &output);
    for which in 0..2 {
        stage.signed(stage.node(which).id(), session, signature);
    }
    assert!(asked.answer.await.unwrap().unwrap().fresh);
    stage.wallet_is_everywhere("again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn record__should_become_a_wallet_when_one_node_gets_a_false_signature() {
    let mut stage = Stage::new().await;
    let (liar, other) = (stage.liar.id(), stage.node(1).id());
    let asked = stage.ask(0, "false").await;
    let (sheet, session) = (asked.sheet.clone(), asked.session);
    let Played::Done(output) = stage.play(&sheet, session, |_, _| true).await else { panic!("nobody lied") };
    stage.signed(stage.victim(), session, [7; 64]);
    let failure = asked.failure().await;
    assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [liar].into()));
    assert_eq!(stage.snapshot(0).await.unsettled, [wallet_id("false")].into());
    assert_eq!(stage.node(0).wallet(wallet_id("false")).await.unwrap(), None);
    // The other node gets the genuine one, and the victim the certificate from it.
    let signature = stage.signature(&sheet, session, &output);
    stage.signed(other, session, signature);
    stage.wallet_is_everywhere("false").await;
    stage.until(0, |snapshot| snapshot.unsettled.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_share__should_stay_until_it_is_settled() {
    let mut stage = Stage::new().await;
    let wallet: WalletId = wallet_id("pending");
    let asked = stage.ask(0, "pending").await;
    let (sheet, session) = (asked.sheet.clone(), asked.session);
    let Played::Done(output) = stage.play(&sheet, session, |_, _| true).await else { panic!("nobody lied") };
    for which in 0..2 {
        stage.signed(stage.node(which).id(), session, [7; 64]);
    }
    assert_eq!(asked.failure().await.culprits, [stage.liar.id()].into());
    for which in 0..2 {
        stage.until(which, |snapshot| snapshot.unsettled.contains(&wallet)).await;
    }
    // No other key generation takes the place of the one that is not settled.
    let sheet_again = stage.sheet(&stage.request("pending"));
    stage.refused(&sheet_again, "pending", Code::SessionDuplicate).await;
    let failure = stage.node(1).keygen(stage.request("pending")).await.unwrap_err();
    assert_eq!(failure.code, Code::SessionDuplicate);
    // Both ask the liar. Nonsense settles nothing; neither does a signature of another record, or a certificate of
    // another wallet.
    let mut asking = BTreeSet::new();
    while asking.len() < 2 {
        asking.insert(query(&mut stage, &wallet, session).await);
    }
    let taken = stage.node(0).wallet(wallet_id("taken")).await.unwrap().unwrap().encode().unwrap();
    for &node in &asking {
        for outcome in [
            PendingOutcome::Pending([7; 64]),
            PendingOutcome::Certified(b"nonsense".to_vec()),
            PendingOutcome::Certified(taken.clone()),
            PendingOutcome::Running,
        ] {
            stage.liar.send(node, PeerMessage::KeygenReply { wallet: wallet.clone(), session, outcome });
        }
    }
    asking.clear();
    while asking.len() < 2 {
        asking.insert(query(&mut stage, &wallet, session).await);
    }
    for which in 0..2 {
        assert!(stage.snapshot(which).await.unsettled.contains(&wallet));
    }
    // The genuine signature makes the wallet.
    let signature = stage.signature(&sheet, session, &output);
    for node in asking {
        let outcome = PendingOutcome::Pending(signature);
        stage.liar.send(node, PeerMessage::KeygenReply { wallet: wallet.clone(), session, outcome });
    }
    stage.wallet_is_everywhere("pending").await;
    for which in 0..2 {
        stage.until(which, |snapshot| snapshot.unsettled.is_empty()).await;
    }
}

/// Who asks the liar next what became of a wallet.
async fn query(stage: &mut Stage, wanted: &WalletId, of: SheetHash) -> NodeId {
    stage
        .liar
        .hear(|from, message| match message {
            PeerMessage::KeygenQuery { wallet, session } if wallet == *wanted && session == of => Some(from),
            _ => None,
        })
        .await
}
