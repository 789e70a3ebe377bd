//! A participant that does not keep to the protocol.

use std::collections::BTreeSet;

use quorate::error::Code;
use quorate::ids::{NodeId, PartyIndex, Scheme, SheetHash};
use quorate::keys::Signature;
use quorate::protocol::derivation::derive;
use quorate::protocol::frost_signing::FrostSigning;
use quorate::protocol::{Party, RunContext, rng};
use quorate::testing::{PlantedWallet, Played};
use quorate::wire::message::{SecretPayload, Service, SessionBody};
use quorate::wire::request::SignRequest;
use quorate::wire::sheet::Sheet;

use crate::stage::{Stage, check};

/// A session of the liar with the victim, up to the victim's first message: the sheet, its name, the victim's payload.
async fn opened(stage: &mut Stage) -> (Sheet, SheetHash, Vec<u8>) {
    let sheet = stage.sheet(&stage.request("w"));
    let session = stage.propose(&sheet);
    match stage.liar.answer(session).await.1 {
        SessionBody::Round { round: 1, payload, .. } => (sheet, session, payload.0.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// The liar's engine for a sheet, with its share of `wallet`.
fn engine(
    stage: &Stage,
    wallet: &PlantedWallet,
    sheet: &Sheet,
    request: &SignRequest,
) -> Box<dyn Party<Output = Signature>> {
    let (_, session) = sheet.seal().unwrap();
    let me = sheet.index_of(stage.liar.id()).unwrap();
    let context = RunContext { session, me, parties: sheet.parties() };
    let record = wallet.certificate.record();
    let key = record.key(Scheme::Ed25519).unwrap().public_key();
    let derived = derive(&key, &record.chain_code, &request.path()).unwrap();
    let share = &wallet.shares[&stage.liar.id()][&Scheme::Ed25519];
    Box::new(FrostSigning::new(context, share, &derived, request.message().to_vec(), None, rng::os()).unwrap())
}

/// The liar's own first message for a sheet.
fn first_payload(stage: &Stage, sheet: &Sheet, request: &SignRequest) -> Vec<u8> {
    engine(stage, &stage.wallet, sheet, request).start().unwrap().send[0].payload.to_vec()
}

fn index(number: u8) -> PartyIndex {
    PartyIndex::try_from(number).unwrap()
}

/// What the victim says at the end of a session.
async fn abort(stage: &mut Stage, session: SheetHash) -> (Code, BTreeSet<NodeId>) {
    loop {
        if let (_, SessionBody::Abort { code, culprits, .. }) = stage.liar.answer(session).await {
            return (code, culprits.into_iter().collect());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages__should_be_dropped_and_counted_when_they_are_not_for_the_round() {
    let mut stage = Stage::new().await;
    let earlier = opened(&mut stage).await;
    let (sheet, session, theirs) = opened(&mut stage).await;
    let (liar, victim) = (sheet.index_of(stage.liar.id()).unwrap(), sheet.index_of(stage.victim()).unwrap());
    let round = |session, me, to, round, payload: &[u8]| stage.liar.round(session, me, to, round, payload);
    let unsigned =
        SessionBody::Round { round: 1, to: None, payload: SecretPayload(theirs.clone().into()), signature: [0; 64] };
    let strays = [
        ("payload signature of nothing", unsigned),
        ("signed as another", round(session, victim, None, 1, &theirs)),
        ("replayed from another session", round(earlier.1, liar, None, 1, &theirs)),
        ("to another party", round(session, liar, Some(liar), 1, &theirs)),
        ("round 0", round(session, liar, None, 0, &theirs)),
        ("round 3 of 2", round(session, liar, None, 3, &theirs)),
        ("round 255", round(session, liar, None, 255, &theirs)),
        ("too large", round(session, liar, None, 1, &[0; 100_000])),
        ("a proposal that strayed", SessionBody::RecordSigned { signature: [0; 64] }),
    ];
    for (number, (lie, body)) in (1..).zip(strays) {
        stage.tell_victim(session, body);
        let snapshot = stage.until_session(session, |snapshot| snapshot.dropped >= number).await;
        assert_eq!((snapshot.dropped, snapshot.round), (number, 1), "{lie}");
        assert_eq!(snapshot.awaited, [stage.liar.id()].into(), "{lie}");
    }
    // One slot per round: the first message of round 2 counts, also when it comes early.
    stage.tell_victim(session, round(session, liar, None, 2, b"first"));
    stage.tell_victim(session, round(session, liar, None, 2, b"second"));
    stage.until_session(session, |snapshot| snapshot.dropped == 10).await;
    // A member that takes no part in the session.
    let stranger = stage.bystander.round(session, index(4), None, 1, &theirs);
    stage.bystander.say(stage.victim(), Service::Signing, session, stranger);
    stage.until_session(session, |snapshot| snapshot.dropped == 11).await;
    let blame = SessionBody::Abort { code: Code::Internal, culprits: vec![stage.liar.id()], round: 1 };
    stage.bystander.say(stage.victim(), Service::Signing, session, blame);
    stage.until_session(session, |snapshot| snapshot.dropped == 12).await;
    stage.honest_signing_works().await;
    assert_eq!(stage.snapshot(0).await.aborted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn signature__should_be_the_same_for_whoever_asks_as_its_session_ends() {
    let mut stage = Stage::new().await;
    let request = stage.request("w");
    let sheet = stage.sheet(&request);
    let party = engine(&stage, &stage.wallet, &sheet, &request);
    let session = stage.propose(&sheet);
    let Played::Done(signature) = stage.liar.play(Service::Signing, &sheet, session, party, |_, _| true).await else {
        panic!("the liar kept to the protocol")
    };
    let signed = stage.honest(0).sign(request.clone()).await;
    // The victim's signature is the same: it is put together from the same shares.
    assert_eq!(check(&signed, &request), signature);
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participant__should_be_named_for_what_it_signed() {
    let mut stage = Stage::new().await;
    let liar = stage.liar.id();
    let me = index(1);
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let spoil: [(&str, u8, Spoil); 6] = [
        ("empty", 1, |_| vec![]),
        ("cut short", 1, |payload| payload[..payload.len() - 1].to_vec()),
        ("longer", 1, |payload| [payload, &[0]].concat()),
        ("zeros", 1, |payload| vec![0; payload.len()]),
        ("cut short", 2, |payload| payload[..payload.len() / 2].to_vec()),
        ("zeros", 2, |payload| vec![0; payload.len()]),
    ];
    for (lie, in_round, change) in spoil {
        let request = stage.request("w");
        let sheet = stage.sheet(&request);
        let party = engine(&stage, &stage.wallet, &sheet, &request);
        let session = stage.propose(&sheet);
        let played = stage.liar.play(Service::Signing, &sheet, session, party, |_, outgoing| {
            if outgoing.round == in_round {
                outgoing.payload = change(&outgoing.payload).into();
            }
            true
        });
        // In the last round the liar's engine is through before the victim has looked at its share.
        let (code, culprits) = match played.await {
            Played::Ended { code, culprits, .. } => (code, culprits),
            Played::Done(_) | Played::Fault(_) => abort(&mut stage, session).await,
        };
        assert_eq!((code, culprits), (Code::ProtocolViolation, [liar].into()), "{lie} in round {in_round}");
    }

    // A share of another wallet's key.
    let request = stage.request("w");
    let sheet = stage.sheet(&request);
    let (_, session) = sheet.seal().unwrap();
    let context = RunContext { session, me, parties: sheet.parties() };
    let record = stage.other_wallet.certificate.record();
    let derived =
        derive(&record.key(Scheme::Ed25519).unwrap().public_key(), &record.chain_code, &request.path()).unwrap();
    let share = &stage.other_wallet.shares[&liar][&Scheme::Ed25519];
    let party = FrostSigning::new(context, share, &derived, request.message().to_vec(), None, rng::os()).unwrap();
    stage.propose(&sheet);
    let played = stage.liar.play(Service::Signing, &sheet, session, Box::new(party), |_, _| true).await;
    let (code, culprits) = match played {
        Played::Ended { code, culprits, .. } => (code, culprits),
        Played::Done(_) | Played::Fault(_) => abort(&mut stage, session).await,
    };
    assert_eq!((code, culprits), (Code::ProtocolViolation, [liar].into()));
    stage.honest_signing_works().await;
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_be_told_who_broke_the_protocol() {
    let mut stage = Stage::new().await;
    let liar = stage.liar.id();
    // What it says in the protocol ...
    let asked = stage.ask_until_liar_is_chosen().await;
    let me = asked.sheet.index_of(liar).unwrap();
    stage.tell_victim(asked.session, stage.liar.round(asked.session, me, None, 1, b"nonsense"));
    let failure = asked.answer.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [liar].into()));
    // ... an answer that is none ...
    let asked = stage.ask_until_liar_is_chosen().await;
    let answer = Some(Signature::Ed25519([7; 64]));
    stage.tell_victim(asked.session, SessionBody::Refuse { code: Code::SessionDuplicate, answer });
    let failure = asked.answer.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [liar].into()));
    // ... the answer to another request ...
    let other = stage.request("w");
    stage.liar_serves(false).await;
    let answer = check(&stage.honest(0).sign(other.clone()).await, &other);
    for answer in [answer, Signature::Bip340(answer.to_bytes())] {
        let asked = stage.ask_until_liar_is_chosen().await;
        let body = SessionBody::Refuse { code: Code::SessionDuplicate, answer: Some(answer) };
        stage.tell_victim(asked.session, body);
        let failure = asked.answer.await.unwrap().unwrap_err();
        assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [liar].into()));
    }
    // ... and an accusation is known by who made it.
    let asked = stage.ask_until_liar_is_chosen().await;
    let accused = stage.honest(1).id();
    let body = SessionBody::Abort { code: Code::ProtocolViolation, culprits: vec![accused], round: 1 };
    stage.tell_victim(asked.session, body);
    let failure = asked.answer.await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::ProtocolViolation);
    assert!(failure.reason.contains(&liar.to_string()), "the client learns who says so: {failure}");
    let last = stage.snapshot(0).await.last_abort.unwrap();
    assert_eq!((last.reported_by, last.culprits), (Some(liar), [accused].into()));
    stage.liar_serves(false).await;
    stage.honest_signing_works().await;
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer__should_be_taken_from_participants_only() {
    let mut stage = Stage::new().await;
    let asked = stage.ask_until_liar_is_chosen().await;
    let body = SessionBody::Refuse { code: Code::SessionDuplicate, answer: Some(Signature::Ed25519([7; 64])) };
    stage.bystander.say(stage.victim(), Service::Signing, asked.session, body);
    // The session goes on, and the liar, for once, does what it should.
    let party = engine(&stage, &stage.wallet, &asked.sheet, &asked.request);
    let played = stage.liar.play(Service::Signing, &asked.sheet, asked.session, party, |_, _| true).await;
    assert!(matches!(played, Played::Done(_)));
    check(&asked.answer.await.unwrap(), &asked.request);
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_messages__should_wait_in_a_bounded_place() {
    let mut stage = Stage::new().await;
    let me = index(1);
    let before = stage.snapshot(0).await.dropped;
    for number in 0..300_u16 {
        let mut session = SheetHash([7; 32]);
        session.0[..2].copy_from_slice(&number.to_be_bytes());
        stage.tell_victim(session, stage.liar.round(session, me, None, 1, b"early"));
    }
    stage.until(0, |snapshot| snapshot.dropped == before + 44).await;
    // Those of others are not crowded out.
    stage.honest_signing_works().await;

    // What answers to something waits for no session at all, and nothing waits for one that has ended.
    let (_, session, _) = opened(&mut stage).await;
    stage.tell_victim(session, SessionBody::Abort { code: Code::Cancelled, culprits: vec![], round: 1 });
    let before = stage.until(0, |snapshot| snapshot.sessions.is_empty()).await.dropped;
    stage.tell_victim(SheetHash([200; 32]), SessionBody::Refuse { code: Code::Cancelled, answer: None });
    stage.tell_victim(session, stage.liar.round(session, me, None, 1, b"after the end"));
    stage.until(0, |snapshot| snapshot.dropped == before + 2).await;
    stage.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_messages__should_be_there_when_their_session_is_announced() {
    let mut stage = Stage::new().await;
    let request = stage.request("w");
    let sheet = stage.sheet(&request);
    let (session, _) = stage.liar.proposal(&sheet);
    let payload = first_payload(&stage, &sheet, &request);
    stage.tell_victim(session, stage.liar.round(session, index(1), None, 1, &payload));
    stage.propose(&sheet);
    // With the liar's message at hand the victim goes straight on to round 2.
    for expected in 1..=2 {
        let (_, body) = stage.liar.answer(session).await;
        assert!(matches!(body, SessionBody::Round { round, .. } if round == expected), "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_start_one_session_however_often_it_comes() {
    let mut stage = Stage::new().await;
    for _ in 0..10 {
        let request = stage.request("w");
        let sheet = stage.sheet(&request);
        let session = stage.propose(&sheet);
        for _ in 0..5 {
            stage.propose(&sheet);
        }
        let party = engine(&stage, &stage.wallet, &sheet, &request);
        let played = stage.liar.play(Service::Signing, &sheet, session, party, |_, _| true).await;
        let Played::Done(signature) = played else { panic!("the session did not end well") };
        assert_eq!(check(&stage.honest(0).sign(request.clone()).await, &request), signature);
        while let Some(inbound) = stage.liar.try_hear() {
            let said = format!("{:?}", inbound.message);
            assert!(!said.contains("round: 1,"), "nonces were committed to twice in one session: {said}");
        }
    }
    stage.nothing_is_left().await;
    // Only a session of the victim's own may have ended early: when it found the answer.
    let last = stage.snapshot(0).await.last_abort;
    assert!(last.as_ref().is_none_or(|last| last.code == Code::Superseded), "{last:?}");
}
