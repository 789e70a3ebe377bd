//! A coordinator that proposes signing sessions which an honest one would not.

use std::collections::BTreeMap;

use quorate::error::Code;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::{Epoch, Generation, NodeId, PartyIndex, RequestId, Scheme, SheetHash, Threshold};
use quorate::keys::{DerivationPath, Signature, TapTweak};
use quorate::signing::MAX_DEADLINE_AHEAD_MS;
use quorate::wire::message::{Service, SessionBody};
use quorate::wire::request::{Coverage, SignRequest};
use quorate::wire::sheet::{MAX_SHEET_BYTES, Participant, Sheet, Task};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::stage::{Stage, auditor, check, wallet_id};

/// A lie: what it is called, how it spoils a sheet that was right, and the code it must be refused with.
type Lie = (&'static str, fn(&mut Sheet, &Stage), Code);

/// The fields of the sheet's task that its lies change.
macro_rules! task {
    ($sheet:ident, $field:ident) => {{
        let Task::Sign { $field, .. } = &mut $sheet.task else { unreachable!() };
        $field
    }};
}

const LIES: &[Lie] = &[
    ("another message", |s, _| task!(s, message).push(0), Code::ProtocolViolation),
    ("no message", |s, _| task!(s, message).clear(), Code::ProtocolViolation),
    ("another path", |s, _| *task!(s, path) = path(&[1]), Code::ProtocolViolation),
    ("another wallet", |s, _| *task!(s, wallet) = wallet_id("other"), Code::ProtocolViolation),
    ("another scheme", |s, _| *task!(s, scheme) = Scheme::Bip340, Code::ProtocolViolation),
    ("a tweak", |s, _| *task!(s, tweak) = Some(TapTweak::KeyPathOnly), Code::MsgValidation),
    ("another request id", |s, _| *task!(s, request_id) = request_id("x"), Code::ProtocolViolation),
    ("a request that is none", |s, _| *task!(s, request) = b"{".to_vec(), Code::UnmarshalFailure),
    ("another generation", |s, _| *task!(s, generation) = Generation(1), Code::SessionStale),
    ("another n", |s, _| *task!(s, threshold) = threshold(2, 3), Code::ProtocolViolation),
    (
        "another t",
        |s, stage| (*task!(s, threshold), s.participants) = (threshold(3, 4), three(stage)),
        Code::ProtocolViolation,
    ),
    (
        "a stranger in the victim's place",
        |s, stage| s.participants = vec![seat(stage.liar.id(), 1), seat(NodeId(Uuid::new_v4()), 2)],
        Code::ProtocolViolation,
    ),
    (
        "the victim left out",
        |s, stage| s.participants = vec![seat(stage.liar.id(), 1), seat(stage.bystander.id(), 4)],
        Code::ProtocolViolation,
    ),
    (
        "the liar at another's index",
        |s, stage| s.participants = vec![seat(stage.victim(), 2), seat(stage.liar.id(), 3)],
        Code::ProtocolViolation,
    ),
    (
        "the victim at another's index",
        |s, stage| s.participants = vec![seat(stage.liar.id(), 1), seat(stage.victim(), 3)],
        Code::ProtocolViolation,
    ),
    (
        "swapped indices",
        |s, stage| s.participants = vec![seat(stage.victim(), 1), seat(stage.liar.id(), 2)],
        Code::ProtocolViolation,
    ),
    (
        "an index beyond the committee",
        |s, stage| s.participants = vec![seat(stage.liar.id(), 1), seat(stage.victim(), 255)],
        Code::ProtocolViolation,
    ),
    (
        "a node twice",
        |s, stage| s.participants = vec![seat(stage.liar.id(), 1), seat(stage.liar.id(), 2)],
        Code::MsgValidation,
    ),
    (
        "an index twice",
        |s, stage| s.participants = vec![seat(stage.liar.id(), 1), seat(stage.victim(), 1)],
        Code::MsgValidation,
    ),
    ("descending indices", |s, _| s.participants.reverse(), Code::MsgValidation),
    ("too few", |s, _| s.participants.truncate(1), Code::MsgValidation),
    ("nobody", |s, _| s.participants.clear(), Code::MsgValidation),
    ("too many", |s, stage| s.participants = three(stage), Code::MsgValidation),
    ("a coordinator that takes no part", |s, stage| s.coordinator = stage.bystander.id(), Code::MsgValidation),
    ("the victim as the coordinator", |s, stage| s.coordinator = stage.victim(), Code::ProtocolViolation),
    ("another cluster", |s, _| s.cluster = "elsewhere".parse().unwrap(), Code::MsgValidation),
    ("another version", |s, _| s.version += 1, Code::MsgValidation),
    ("a deadline that is past", |s, stage| s.deadline_ms = stage.liar.args().clock.now_ms() - 1, Code::SessionStale),
    ("no deadline", |s, _| s.deadline_ms = 0, Code::SessionStale),
    ("a deadline far ahead", |s, _| s.deadline_ms += 2 * MAX_DEADLINE_AHEAD_MS, Code::MsgValidation),
    ("no end", |s, _| s.deadline_ms = u64::MAX, Code::MsgValidation),
    ("a pair setup's task", |s, _| s.task = Task::PairSetup { epoch: Epoch(1) }, Code::MsgValidation),
    (
        "a digest that is too short",
        |s, _| (*task!(s, scheme), *task!(s, message)) = (Scheme::Ecdsa, vec![1; 31]),
        Code::MsgValidation,
    ),
    (
        "a digest that is too long",
        |s, _| (*task!(s, scheme), *task!(s, message)) = (Scheme::Ecdsa, vec![1; 33]),
        Code::MsgValidation,
    ),
    ("a message that is too long", |s, _| task!(s, message).resize(64 * 1024 + 1, 0), Code::MsgValidation),
];

fn path(indices: &[u32]) -> DerivationPath {
    DerivationPath::try_from(indices.to_vec()).unwrap()
}

fn request_id(text: &str) -> RequestId {
    text.parse().unwrap()
}

fn threshold(t: u8, n: u8) -> Threshold {
    Threshold::new(t, n).unwrap()
}

fn seat(node: NodeId, index: u8) -> Participant {
    Participant { node, index: PartyIndex::try_from(index).unwrap() }
}

fn three(stage: &Stage) -> Vec<Participant> {
    vec![seat(stage.liar.id(), 1), seat(stage.victim(), 2), seat(stage.bystander.id(), 4)]
}

/// What the victim answers to a proposal that it refuses.
async fn refusal(stage: &mut Stage, session: SheetHash, lie: &str) -> (Code, Option<Signature>) {
    match stage.liar.answer(session).await {
        (from, SessionBody::Refuse { code, answer }) if from == stage.victim() => (code, answer),
        other => panic!("{lie}: {other:?}"),
    }
}

/// Claims that a proposal is refused, and how.
async fn refused(stage: &mut Stage, sheet: &Sheet, lie: &str, code: Code) {
    let session = stage.propose(sheet);
    assert_eq!(refusal(stage, session, lie).await, (code, None), "{lie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_be_refused_by_name_when_the_sheet_lies() {
    let mut stage = Stage::new().await;
    for &(lie, spoil, code) in LIES {
        let request = stage.request("w");
        let mut sheet = stage.sheet(&request);
        spoil(&mut sheet, &stage);
        // Something else is signed at the same time.
        let unrelated = stage.request("w");
        let answer = stage.ask(1, &unrelated);
        refused(&mut stage, &sheet, lie, code).await;
        check(&answer.await.unwrap(), &unrelated);
    }
    // Without a lie the same sheet is taken: what was refused was refused for the lie.
    let honest = stage.sheet(&stage.request("w"));
    let session = stage.propose(&honest);
    assert!(matches!(stage.liar.answer(session).await, (_, SessionBody::Round { round: 1, .. })));
    let aborted = stage.snapshot(0).await.aborted;
    assert_eq!(aborted, 0, "no session was aborted by a lie");
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_be_refused_when_it_is_not_the_coordinators_own() {
    let mut stage = Stage::new().await;
    let service = Service::Signing;

    // Announced under another name: the refusal comes under that name.
    let sheet = stage.sheet(&stage.request("w"));
    let (_, proposal) = stage.liar.proposal(&sheet);
    let name = SheetHash([9; 32]);
    stage.liar.say(stage.victim(), service, name, proposal);
    assert_eq!(refusal(&mut stage, name, "another name").await.0, Code::ProtocolViolation);

    // Another member's sheet, with its genuine signature, passed on by the liar.
    let request = stage.request("w");
    let sheet = stage.sheet_of(&request, stage.bystander.id(), &[stage.bystander.id(), stage.victim()]);
    let (session, proposal) = stage.bystander.proposal(&sheet);
    stage.liar.say(stage.victim(), service, session, proposal);
    assert_eq!(refusal(&mut stage, session, "passed on").await.0, Code::ProtocolViolation);

    // A signature by another, of another sheet, of nothing.
    let genuine = stage.sheet(&stage.request("w"));
    let (session, _) = stage.liar.proposal(&genuine);
    let (bytes, _) = genuine.seal().unwrap();
    let other = stage.liar.proposal_of(bytes.clone(), SheetHash([1; 32]));
    let stranger = stage.bystander.proposal_of(bytes.clone(), session);
    let nothing = SessionBody::Propose { sheet: bytes, signature: [0; 64] };
    for (proposal, lie) in [(other, "signature of another"), (stranger, "by another"), (nothing, "of nothing")] {
        stage.tell_victim(session, proposal);
        assert_eq!(refusal(&mut stage, session, lie).await.0, Code::ProtocolViolation, "{lie}");
    }

    // And the name is not used up by the lies told under it.
    let (session, proposal) = stage.liar.proposal(&genuine);
    stage.tell_victim(session, proposal);
    assert!(matches!(stage.liar.answer(session).await, (_, SessionBody::Round { round: 1, .. })));
    stage.honest_signing_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_be_refused_when_its_bytes_are_no_sheet() {
    let mut stage = Stage::new().await;
    let sheet = stage.sheet(&stage.request("w"));
    let (bytes, _) = sheet.seal().unwrap();
    let zero_index = {
        // The last byte of a participant is its index.
        let marker = b"\xa5index\x01";
        let at = bytes.windows(marker.len()).position(|window| window == marker).unwrap() + marker.len() - 1;
        let mut bytes = bytes.clone();
        bytes[at] = 0;
        bytes
    };
    let cases = [
        ("an index of zero", zero_index),
        ("half a sheet", bytes[..bytes.len() / 2].to_vec()),
        ("something behind it", [&bytes[..], &[0]].concat()),
        ("nothing", Vec::new()),
        ("more than a sheet may have", [&bytes[..], &vec![0; MAX_SHEET_BYTES]].concat()),
    ];
    for (lie, bytes) in cases {
        let session = SheetHash(Sha256::new_with_prefix(b"quorate/sheet/v1").chain_update(&bytes).finalize().into());
        let proposal = stage.liar.proposal_of(bytes, session);
        stage.tell_victim(session, proposal);
        assert_eq!(refusal(&mut stage, session, lie).await.0, Code::MsgValidation, "{lie}");
    }
    stage.honest_signing_works().await;
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_be_refused_when_the_client_did_not_ask_for_it() {
    let mut stage = Stage::new().await;
    let forger = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let build = |wallet: &str, scheme| {
        SignRequest::builder(scheme, wallet_id(wallet), request_id(&Uuid::new_v4().to_string()), &[7; 32])
    };
    let initiator = stage.cluster.initiator();
    let genuine = build("w", Scheme::Ed25519).approved_by(auditor(), &stage.auditor).sign_with(initiator).unwrap();
    let text = String::from_utf8(genuine.bytes().to_vec()).unwrap();
    let unsigned = text.replacen("\"signature\":\"", "\"signature\":\"\",\"was\":\"", 1);
    let cases: BTreeMap<&str, (SignRequest, Code)> = [
        ("signed by nobody", (SignRequest::parse(unsigned.as_bytes()).unwrap(), Code::InvalidInitiatorSignature)),
        (
            "signed by a stranger",
            (
                build("w", Scheme::Ed25519).approved_by(auditor(), &stage.auditor).sign_with(&forger).unwrap(),
                Code::InvalidInitiatorSignature,
            ),
        ),
        (
            "signed without its path",
            (
                build("w", Scheme::Ed25519)
                    .path(path(&[1, 2]))
                    .coverage(Coverage::Legacy)
                    .approved_by(auditor(), &stage.auditor)
                    .sign_with(initiator)
                    .unwrap(),
                Code::InvalidInitiatorSignature,
            ),
        ),
        ("not approved", (build("w", Scheme::Ed25519).sign_with(initiator).unwrap(), Code::MissingAuthorizerSignature)),
        (
            "approved by a stranger",
            (
                build("w", Scheme::Ed25519).approved_by(auditor(), &forger).sign_with(initiator).unwrap(),
                Code::InvalidAuthorizerSignature,
            ),
        ),
        (
            "for no wallet",
            (
                build("none", Scheme::Ed25519).approved_by(auditor(), &stage.auditor).sign_with(initiator).unwrap(),
                Code::KeyNotFound,
            ),
        ),
        (
            "for no key of the wallet",
            (
                build("w", Scheme::Bip340).approved_by(auditor(), &stage.auditor).sign_with(initiator).unwrap(),
                Code::KeyNotFound,
            ),
        ),
    ]
    .into();
    for (lie, (request, code)) in cases {
        let sheet = stage.sheet(&request);
        refused(&mut stage, &sheet, lie, code).await;
        // A client that asks the victim itself is told the same.
        let failure = stage.honest(0).sign(request).await.unwrap_err();
        assert_eq!(failure.code, code, "{lie}");
    }
    stage.honest_signing_works().await;
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_be_answered_when_the_request_is_and_refused_when_its_id_is_taken() {
    let mut stage = Stage::new().await;
    let request = stage.request("w");
    let signature = check(&stage.honest(0).sign(request.clone()).await, &request);
    let session = stage.propose(&stage.sheet(&request));
    assert_eq!(refusal(&mut stage, session, "again").await, (Code::SessionDuplicate, Some(signature)));

    let other = stage.request_of("w", request.request_id().as_str(), b"something else");
    let sheet = stage.sheet(&other);
    refused(&mut stage, &sheet, "other content", Code::RequestConflict).await;

    // The same while the request is at work: the liar's own session for it waits for the liar.
    let running = stage.request("w");
    let session = stage.propose(&stage.sheet(&running));
    assert!(matches!(stage.liar.answer(session).await, (_, SessionBody::Round { round: 1, .. })));
    let other = stage.request_of("w", running.request_id().as_str(), b"something else");
    let sheet = stage.sheet(&other);
    refused(&mut stage, &sheet, "other content at work", Code::RequestConflict).await;
    // A coordinator of a higher id does not take the request over.
    let sheet = stage.sheet_of(&running, stage.bystander.id(), &[stage.bystander.id(), stage.victim()]);
    let (contender, proposal) = stage.bystander.proposal(&sheet);
    stage.bystander.say(stage.victim(), Service::Signing, contender, proposal);
    let answer = stage.bystander.answer(contender).await.1;
    assert!(matches!(answer, SessionBody::Refuse { code: Code::SessionDuplicate, answer: None }), "{answer:?}");
    stage.honest_signing_works().await;
}
