//! A member that proposes pair setups which an honest one would not, to one real pairing actor.

use std::collections::BTreeSet;

use quorate::error::Code;
use quorate::ids::{Epoch, NodeId, PartyIndex, SessionId, SheetHash, Threshold};
use quorate::pairing::{PairUnavailable, PairingActor, PairingMsg, Stored};
use quorate::protocol::pair::{PairSetup, PairState};
use quorate::protocol::{Party, Progress, RunContext};
use quorate::registry::RegistryMsg;
use quorate::session::PAYLOAD_DOMAIN;
use quorate::signing::MAX_DEADLINE_AHEAD_MS;
use quorate::supervision::Address;
use quorate::testing::{Bench, PATIENCE, Probe, ProbeInbox};
use quorate::transport::TransportMsg;
use quorate::wire::message::{SecretPayload, Service, SessionBody};
use quorate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};
use tempfile::TempDir;
use uuid::Uuid;

use crate::stage::eventually;

/// Member 1 under test; the test is member 0, whose proposals win over the victim's own.
struct Rig {
    bench: Bench,
    pairing: Address<PairingMsg>,
    transport: ProbeInbox<TransportMsg>,
    _registry: ProbeInbox<RegistryMsg>,
    _folder: TempDir,
}

const LIAR: usize = 0;
const VICTIM: usize = 1;

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(Threshold::new(2, 3).unwrap());
        let storage = bench.storage(VICTIM, folder.path()).await;
        let (to_transport, transport) = Probe::start().await;
        let (to_registry, registry) = Probe::start().await;
        let args = bench.pairing(VICTIM, &storage, &to_transport, &to_registry);
        let pairing = args.myself.clone();
        drop(Bench::start(PairingActor, args, &pairing).await);
        Self { bench, pairing, transport, _registry: registry, _folder: folder }
    }

    fn sheet(&self, epoch: u64) -> Sheet {
        Sheet {
            version: SHEET_VERSION,
            cluster: self.bench.settings.cluster.clone(),
            session: SessionId(Uuid::new_v4().as_bytes().repeat(2).try_into().unwrap()),
            task: Task::PairSetup { epoch: Epoch(epoch) },
            participants: vec![seat(self.bench.id(LIAR), 1), seat(self.bench.id(VICTIM), 2)],
            coordinator: self.bench.id(LIAR),
            attempt: 1,
            deadline_ms: self.bench.clock.now_ms() + 30_000,
        }
    }

    fn say(&self, session: SheetHash, body: SessionBody) {
        let inbound = self.bench.said_by(LIAR, Service::Pairing, session, body);
        self.pairing.cast(PairingMsg::Peer(inbound)).unwrap();
    }

    fn propose(&self, sheet: &Sheet) -> SheetHash {
        let (session, proposal) = self.bench.proposal(LIAR, sheet);
        self.say(session, proposal);
        session
    }

    /// What the victim says next in a session.
    async fn said(&mut self, session: SheetHash) -> SessionBody {
        self.transport.sent(session).await.1
    }

    async fn refused(&mut self, sheet: &Sheet, lie: &str, expected: Code) {
        let session = self.propose(sheet);
        match self.said(session).await {
            SessionBody::Refuse { code, answer: None } => assert_eq!(code, expected, "{lie}"),
            other => panic!("{lie}: {other:?}"),
        }
    }

    /// Carries a setup through as an honest member would.
    async fn set_up(&mut self, sheet: &Sheet) -> PairState {
        let session = self.propose(sheet);
        let Task::PairSetup { epoch } = sheet.task else { unreachable!() };
        let me = PartyIndex::try_from(1).unwrap();
        let context = RunContext { session, me, parties: sheet.parties() };
        let mut party = PairSetup::new(&context, epoch).unwrap();
        let mut progress = party.start().unwrap();
        loop {
            self.send_all(session, &progress);
            if let Some(state) = progress.output {
                return state;
            }
            progress = match self.said(session).await {
                SessionBody::Round { round, payload, .. } => {
                    party.receive(PartyIndex::try_from(2).unwrap(), round, &payload.0).unwrap()
                }
                other => panic!("{other:?}"),
            };
        }
    }

    fn send_all(&self, session: SheetHash, progress: &Progress<PairState>) {
        for outgoing in &progress.send {
            let header = [outgoing.round, 1, 0];
            let signature = self.bench.identity(LIAR).sign(PAYLOAD_DOMAIN, &[&session.0, &header, &outgoing.payload]);
            let payload = SecretPayload(outgoing.payload.clone());
            self.say(session, SessionBody::Round { round: outgoing.round, to: None, payload, signature });
        }
    }

    async fn ban(&self) {
        let (peer, session) = (self.bench.id(LIAR), SheetHash([1; 32]));
        self.pairing.call(PATIENCE, |reply| PairingMsg::Ban { peer, session, reply }).await.unwrap().unwrap();
    }

    async fn epoch(&self) -> Option<Epoch> {
        let snapshot = self.pairing.call(PATIENCE, PairingMsg::Snapshot).await.unwrap();
        snapshot.epochs.get(&self.bench.id(LIAR)).copied()
    }
}

fn seat(node: NodeId, index: u8) -> Participant {
    Participant { node, index: PartyIndex::try_from(index).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn pair_setup__should_be_refused_when_its_sheet_lies() {
    let mut rig = Rig::new().await;
    let (liar, victim, third) = (rig.bench.id(LIAR), rig.bench.id(VICTIM), rig.bench.id(2));
    type Change<'a> = &'a dyn Fn(&mut Sheet);
    let now_ms = rig.bench.clock.now_ms();
    let lies: [(&str, Code, Change<'_>); 12] = [
        ("for others", Code::MsgValidation, &|s| s.participants = vec![seat(liar, 1), seat(third, 2)]),
        ("swapped seats", Code::MsgValidation, &|s| s.participants = vec![seat(victim, 1), seat(liar, 2)]),
        ("three", Code::MsgValidation, &|s| s.participants.push(seat(third, 3))),
        ("alone", Code::MsgValidation, &|s| s.participants.truncate(1)),
        ("another's coordination", Code::ProtocolViolation, &|s| s.coordinator = victim),
        ("epoch 0", Code::MsgValidation, &|s| s.task = Task::PairSetup { epoch: Epoch(0) }),
        ("another cluster", Code::MsgValidation, &|s| s.cluster = "elsewhere".parse().unwrap()),
        ("another version", Code::MsgValidation, &|s| s.version = 9),
        ("past", Code::SessionStale, &|s| s.deadline_ms = now_ms - 1),
        ("far ahead", Code::MsgValidation, &|s| s.deadline_ms = now_ms + 2 * MAX_DEADLINE_AHEAD_MS),
        ("no end", Code::MsgValidation, &|s| s.deadline_ms = u64::MAX),
        ("seats that are none", Code::MsgValidation, &|s| s.participants = vec![seat(liar, 1), seat(liar, 2)]),
    ];
    for (lie, code, change) in lies {
        let mut sheet = rig.sheet(1);
        change(&mut sheet);
        rig.refused(&sheet, lie, code).await;
    }
    assert_eq!(rig.epoch().await, None);
    let snapshot = rig.pairing.call(PATIENCE, PairingMsg::Snapshot).await.unwrap();
    assert_eq!(snapshot.running, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn pair_setup__should_be_refused_when_its_epoch_is_not_later() {
    let mut rig = Rig::new().await;
    let sheet = rig.sheet(5);
    let state = rig.set_up(&sheet).await;
    assert_eq!(state.epoch(), Epoch(5));
    eventually(|| async { rig.epoch().await.filter(|&epoch| epoch == Epoch(5)) }).await;
    for epoch in [1, 4, 5] {
        let sheet = rig.sheet(epoch);
        rig.refused(&sheet, &format!("epoch {epoch}"), Code::SessionStale).await;
    }
    rig.ban().await;
    let sheet = rig.sheet(6);
    rig.refused(&sheet, "banned", Code::PairBanned).await;
    assert_eq!(rig.epoch().await, None, "a banned pair has no state");
}

#[tokio::test(flavor = "multi_thread")]
async fn pair_setup__should_end_with_the_ban_of_the_pair() {
    let mut rig = Rig::new().await;
    let session = rig.propose(&rig.sheet(1));
    assert!(matches!(rig.said(session).await, SessionBody::Round { round: 1, .. }));
    rig.ban().await;
    let said = rig.said(session).await;
    assert!(matches!(said, SessionBody::Abort { code: Code::PairBanned, .. }), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_pair__should_have_no_state_and_get_none_when_the_ban_is_lifted() {
    let mut rig = Rig::new().await;
    let peer = rig.bench.id(LIAR);
    let sheet = rig.sheet(1);
    // A setup that was through already when the ban came: its state is being stored, or its end is reported.
    let state = Ok(rig.set_up(&sheet).await);
    eventually(|| async { rig.epoch().await }).await;
    rig.ban().await;
    rig.pairing.cast(PairingMsg::Stored(Stored { peer, state, kept: None })).unwrap();
    assert_eq!(rig.epoch().await, None, "a banned pair is not announced");
    rig.pairing.call(PATIENCE, |reply| PairingMsg::LiftBan { peer, reply }).await.unwrap().unwrap();
    let peers = BTreeSet::from([peer]);
    let states = rig.pairing.call(PATIENCE, |reply| PairingMsg::States { peers, deadline_ms: 0, reply }).await.unwrap();
    assert_eq!(states.err(), Some(PairUnavailable::Missing(peer)), "only a new setup makes it usable");
}

#[tokio::test(flavor = "multi_thread")]
async fn pair_setup__should_name_the_peer_and_leave_nothing_when_it_is_spoilt() {
    let mut rig = Rig::new().await;
    let liar = rig.bench.id(LIAR);
    let sheet = rig.sheet(1);
    let session = rig.propose(&sheet);
    assert!(matches!(rig.said(session).await, SessionBody::Round { round: 1, .. }));
    let header = [1, 1, 0];
    let signature = rig.bench.identity(LIAR).sign(PAYLOAD_DOMAIN, &[&session.0, &header, b"nonsense"]);
    let payload = SecretPayload(b"nonsense".to_vec().into());
    rig.say(session, SessionBody::Round { round: 1, to: None, payload, signature });
    match rig.said(session).await {
        SessionBody::Abort { code, culprits, .. } => {
            assert_eq!((code, culprits), (Code::ProtocolViolation, vec![liar]));
        }
        other => panic!("{other:?}"),
    }
    // The same proposal starts nothing any more; a new one does.
    rig.propose(&sheet);
    let fresh = rig.sheet(1);
    rig.set_up(&fresh).await;
    eventually(|| async { rig.epoch().await }).await;
}
