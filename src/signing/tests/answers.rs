//! What is an answer, when, and from where.

use super::*;
use crate::error::Code;
use crate::keys::Signature;
use crate::signing::AdmissionRecord;
use crate::signing::work::Work;
use crate::storage::{Batch, Durability, Family};
use crate::testing::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn answer__should_be_durable_before_a_client_has_it() {
    let rig = Rig::start(|_| ()).await;
    let (signature, content) = (Signature::Ed25519([7; 64]), rig.request(Scheme::Ed25519, "r").content_hash());
    let record = AdmissionRecord { content, answer: Some(signature), attempt: None }.encode().unwrap();
    let batch = Batch::new().put(Family::Results, rig.key("r").storage_key(), record);
    // A participant without clients of its own keeps an answer this way: a power cut may take it back.
    rig.store.write(batch, Durability::Buffered).await.unwrap();
    let synced = rig.store.snapshot().await.unwrap().synced_groups;
    let signed = rig.ask(Scheme::Ed25519, "r").await.unwrap().unwrap();
    assert_eq!((signed.signature, signed.session), (signature, None));
    // The store counts what it has answered already.
    let is_synced = async || rig.store.snapshot().await.unwrap().synced_groups > synced;
    eventually("the answer is durable", is_synced).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_be_answered_in_its_own_time_when_a_peers_session_takes_longer() {
    let mut rig = Rig::start(|args| args.deadline = Duration::from_millis(300)).await;
    let coordinator = rig.bench.id(0);
    rig.joined("r", 9 * Duration::from_secs(60)).await;
    let failure = rig.ask(Scheme::Ed25519, "r").await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::SessionTimeout, [coordinator].into()));
    assert_eq!(rig.snapshot().await.sessions.len(), 1, "the session itself has its own time");
}

#[tokio::test(flavor = "multi_thread")]
async fn false_answer__should_not_end_a_request_that_has_another_session() {
    let mut rig = Rig::start(|_| ()).await;
    let answer = rig.ask(Scheme::Ed25519, "r");
    let (from, _) = rig.proposal().await;
    // Member 0, of the lowest id, takes the request over while an answer for it is being verified, and found wanting.
    let session = rig.joined("r", Duration::from_secs(20)).await;
    let key = rig.key("r");
    rig.signing.cast(Work::FalseAnswer { key, from }.into()).unwrap();
    let snapshot = rig.snapshot().await;
    assert_eq!((snapshot.requests, snapshot.sessions.contains(&session)), (1, true));
    assert!(!answer.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal__should_say_why_when_the_engine_is_still_being_built() {
    let mut rig = Rig::start(|_| ()).await;
    let answer = rig.ask(Scheme::Ecdsa, "r");
    let (_, session) = rig.proposal().await;
    let (reply, states) = rig.pair_states().await;
    let result = Err(Code::StorageWrite);
    rig.signing.cast(Work::Admitted { session, result }.into()).unwrap();
    rig.snapshot().await;
    reply.send(Ok(states)).unwrap();
    let said = rig.said(session).await;
    assert!(matches!(said, SessionBody::Abort { code: Code::StorageWrite, .. }), "{said:?}");
    assert_eq!(answer.await.unwrap().unwrap_err().code, Code::StorageWrite);
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_an_earlier_clients_time__should_not_end_a_later_one() {
    let mut rig = Rig::start(|_| ()).await;
    let answer = rig.ask(Scheme::Ed25519, "r");
    rig.proposal().await;
    let (key, deadline_ms) = (rig.key("r"), rig.bench.clock.now_ms());
    rig.signing.cast(Work::Overdue { key, deadline_ms }.into()).unwrap();
    assert_eq!(rig.snapshot().await.requests, 1);
    assert!(!answer.is_finished());
}
