//! What comes out of the broker: frames, handshakes, records; and what members say inside their links.
#![expect(clippy::unwrap_used, reason = "honest messages encode")]

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::Target;
use crate::error::Code;
use crate::identity::NodeIdentity;
use crate::ids::{ClusterId, Epoch, NodeId, PartyIndex, Scheme, SessionId, SheetHash, Threshold};
use crate::keys::Signature;
use crate::transport::Readiness;
use crate::transport::link_messages::{Beat, Control, decode_message, encode_message};
use crate::transport::noise::{Content, Hello, Initiation, LinkKeys, Plaintext, Session, respond};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{PeerMessage, PendingOutcome, SecretPayload, Service, SessionBody, SigningOutcome};
use crate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "frame", seeds: frames, run: frame, cost: 1 },
        Target { name: "handshake_init", seeds: inits, run: init, cost: 5 },
        Target { name: "handshake_response", seeds: responses, run: response, cost: 5 },
        Target { name: "link_records", seeds: records, run: record, cost: 1 },
        Target { name: "link_control", seeds: controls, run: |bytes| Control::decode(bytes).is_ok(), cost: 1 },
        Target { name: "peer_message", seeds: messages, run: message, cost: 1 },
        Target { name: "sheet", seeds: sheets, run: sheet, cost: 1 },
    ]
}

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

/// The ends of one link: the initiator's keys, then the responder's.
struct Ends {
    keys: [LinkKeys; 2],
    initiation: Mutex<Initiation>,
    init: Vec<u8>,
    response: Vec<u8>,
    /// The responder's side of a session, and messages that the initiator sealed for it.
    opening: Mutex<Session>,
    sealed: Vec<Vec<ByteBuf>>,
}

const LINK: u64 = 7;
const HELLO: Hello = Hello { life: 1, attempt: 1 };

static ENDS: LazyLock<Ends> = LazyLock::new(|| {
    let cluster: ClusterId = "fuzz".parse().unwrap();
    let [a, b] =
        [1, 2].map(|number| NodeIdentity::generate(format!("node{number}").parse().unwrap(), node(number)).unwrap());
    let keys = |me: &NodeIdentity, peer: &NodeIdentity| {
        LinkKeys::new(&Arc::new(me.link_secret()), &cluster, me.id(), peer.id(), &peer.member().key).unwrap()
    };
    let keys = [keys(&a, &b), keys(&b, &a)];
    let (mut finished, init) = Initiation::start(&keys[0], LINK, HELLO).unwrap();
    let (opening, _, response) = respond(&keys[1], LINK, &init, 2).unwrap();
    let (mut sealing, _) = finished.finish(&response).unwrap();
    let sealed = [vec![1; 20], vec![2; 100_000]]
        .map(|text| sealing.seal(Content::Message, Plaintext::copy_of(&text)).unwrap().records);
    // A handshake of its own: its response is not known, so that what comes must be refused.
    let (waiting, _) = Initiation::start(&keys[0], LINK, HELLO).unwrap();
    Ends { keys, initiation: Mutex::new(waiting), init, response, opening: Mutex::new(opening), sealed: sealed.into() }
});

fn frames() -> Vec<Vec<u8>> {
    let ends = &*ENDS;
    let mut frames = vec![
        Frame::request(node(2)),
        Frame::handshake(node(1), FrameKind::Init, LINK, ends.init.clone()),
        Frame::handshake(node(2), FrameKind::Response, LINK, ends.response.clone()),
    ];
    frames.extend(ends.sealed.iter().map(|records| Frame::data(node(1), LINK, 0, records.clone())));
    frames.iter().map(|frame| frame.encode().unwrap()).collect()
}

fn frame(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::decode(bytes) else { return false };
    let again = frame.encode().unwrap();
    assert!(Frame::decode(&again).unwrap() == frame, "a frame is what was written");
    true
}

fn inits() -> Vec<Vec<u8>> {
    vec![ENDS.init.clone()]
}

fn init(bytes: &[u8]) -> bool {
    respond(&ENDS.keys[1], LINK, bytes, 2).is_ok()
}

/// Of another handshake: nothing is taken here.
fn responses() -> Vec<Vec<u8>> {
    vec![ENDS.response.clone()]
}

fn response(bytes: &[u8]) -> bool {
    ENDS.initiation.lock().unwrap_or_else(PoisonError::into_inner).finish(bytes).is_ok()
}

/// Records, each behind its length in four bytes.
fn records() -> Vec<Vec<u8>> {
    let framed = |record: &ByteBuf| [&u32::try_from(record.len()).unwrap().to_be_bytes(), record.as_slice()].concat();
    ENDS.sealed.iter().map(|records| records.iter().flat_map(framed).collect()).collect()
}

fn record(mut bytes: &[u8]) -> bool {
    let mut records = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX).min(rest.len());
        let (record, later) = rest.split_at(len);
        records.push(ByteBuf::from(record));
        bytes = later;
    }
    let counter = u64::from(records.len() != 1);
    // What was opened once is a replay from then on.
    ENDS.opening.lock().unwrap_or_else(PoisonError::into_inner).open(counter, &records).is_ok()
}

fn controls() -> Vec<Vec<u8>> {
    let readiness = Readiness { serving: true, pairs: vec![(node(1), Epoch(1)), (node(2), Epoch(u64::MAX))] };
    let beat = Beat { sequence: 1, heard: 2, answer: true, readiness };
    [Control::Beat(beat), Control::Goodbye].map(|control| control.encode().unwrap()).into()
}

fn messages() -> Vec<Vec<u8>> {
    let session = SheetHash([1; 32]);
    let wallet = "wallet".parse().unwrap();
    let payload = SecretPayload(vec![5; 300].into());
    let bodies = [
        SessionBody::Propose { sheet: sheets().swap_remove(0), signature: [2; 64] },
        SessionBody::Round { round: 1, to: PartyIndex::try_from(2).ok(), payload, signature: [3; 64] },
        SessionBody::Refuse { code: Code::RequestConflict, answer: Some(Signature::Ed25519([4; 64])) },
        SessionBody::Abort { code: Code::PeerUnavailable, culprits: vec![node(1), node(2)], round: 3 },
        SessionBody::RecordSigned { signature: [6; 64] },
    ];
    let service = [Service::Signing, Service::Keygen, Service::Signing, Service::Pairing, Service::Keygen];
    let said = service.into_iter().zip(bodies).map(|(service, body)| PeerMessage::Session { service, session, body });
    let outcome = PendingOutcome::Certified(vec![7; 500]);
    let asked = [
        PeerMessage::KeygenReply { wallet, session, outcome },
        PeerMessage::KeygenQuery { wallet: "w".parse().unwrap(), session },
        PeerMessage::KeygenReply {
            wallet: "w".parse().unwrap(),
            session,
            outcome: PendingOutcome::Unconfirmed(vec![7; 300]),
        },
        PeerMessage::SigningQuery {
            wallet: "w".parse().unwrap(),
            request: "r".parse().unwrap(),
            content: [3; 32],
            session,
        },
        PeerMessage::SigningReply { session, outcome: SigningOutcome::Answered(Signature::Ed25519([8; 64])) },
        PeerMessage::ReshareReply { wallet: "w".parse().unwrap(), session, outcome: PendingOutcome::Pending([8; 64]) },
        PeerMessage::ReshareQuery { wallet: "w".parse().unwrap(), session },
        PeerMessage::Reshared { wallet: "w".parse().unwrap(), certificate: vec![9; 400] },
        PeerMessage::KnowsReshared { wallet: "w".parse().unwrap(), session },
        PeerMessage::Destroyed { wallet: "w".parse().unwrap(), certificate: vec![9; 400], ask: true },
        PeerMessage::DestroyedQuery { wallets: vec!["w".parse().unwrap(), "x".parse().unwrap()] },
    ];
    said.chain(asked).map(|message| encode_message(&message).unwrap().to_vec()).collect()
}

fn message(bytes: &[u8]) -> bool {
    let Ok(message) = decode_message(bytes) else { return false };
    // What sheets and payloads hold has a parser of its own; the rest is written as it was read.
    encode_message(&message).unwrap();
    true
}

fn sheets() -> Vec<Vec<u8>> {
    let participant =
        |number: u8| Participant { node: node(u128::from(number)), index: PartyIndex::try_from(number).unwrap() };
    let sheet = |task, participants: &[u8]| Sheet {
        version: SHEET_VERSION,
        cluster: "fuzz".parse().unwrap(),
        session: SessionId([9; 32]),
        task,
        participants: participants.iter().copied().map(participant).collect(),
        coordinator: node(1),
        attempt: 1,
        deadline_ms: 1_700_000_000_000,
    };
    let request = super::requests::sign_requests().swap_remove(0);
    let sign = Task::Sign {
        wallet: "wallet".parse().unwrap(),
        scheme: Scheme::Ecdsa,
        generation: crate::ids::Generation(0),
        threshold: Threshold::new(2, 3).unwrap(),
        request_id: "tx".parse().unwrap(),
        path: crate::keys::DerivationPath::default(),
        tweak: None,
        message: vec![7; 32],
        request,
    };
    let keygen = Task::Keygen {
        wallet: "wallet".parse().unwrap(),
        schemes: Scheme::ALL.into(),
        threshold: Threshold::new(2, 3).unwrap(),
        request: super::requests::keygen_requests().swap_remove(0),
    };
    let setup = Task::PairSetup { epoch: Epoch(3) };
    let all = [sheet(sign, &[1, 2]), sheet(keygen, &[1, 2, 3]), sheet(setup, &[1, 2])];
    all.iter().map(|sheet| sheet.seal().unwrap().0).collect()
}

fn sheet(bytes: &[u8]) -> bool {
    let Ok((sheet, _)) = Sheet::open(bytes) else { return false };
    let (again, _) = sheet.seal().unwrap();
    assert!(Sheet::open(&again).is_ok(), "a sheet that was taken is taken again");
    true
}
