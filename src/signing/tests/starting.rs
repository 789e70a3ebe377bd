//! What happens between the agreement on a session and its start, while its engine is being built.

use super::*;
use crate::error::Code;
use crate::pairing::Banned;
use crate::testing::eventually;
use crate::transport::DownReason;

/// A session that waits for its engine, and what the member hears meanwhile of the peer in it.
async fn outcome(event: impl FnOnce(NodeId) -> SigningMsg) -> (SessionBody, Failure, NodeId) {
    let mut rig = Rig::start(|_| ()).await;
    let answer = rig.ask(Scheme::Ecdsa, "r");
    let (peer, session) = rig.proposal().await;
    let (reply, states) = rig.pair_states().await;
    rig.signing.cast(event(peer)).unwrap();
    rig.snapshot().await;
    reply.send(Ok(states)).unwrap();
    let said = rig.said(session).await;
    (said, answer.await.unwrap().unwrap_err(), peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_not_start_with_a_pair_that_was_banned_while_its_engine_was_built() {
    let (said, failure, _) = outcome(|peer| SigningMsg::Banned(Banned(peer))).await;
    assert!(matches!(said, SessionBody::Abort { code: Code::PairBanned, .. }), "{said:?}");
    assert_eq!(failure.code, Code::PairBanned);
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_not_start_with_a_peer_that_was_lost_while_its_engine_was_built() {
    let (said, failure, peer) =
        outcome(|peer| SigningMsg::Link(PeerEvent::Down { peer, reason: DownReason::PeerRestarted })).await;
    assert!(matches!(said, SessionBody::Abort { code: Code::PeerUnavailable, .. }), "{said:?}");
    assert_eq!((failure.code, failure.culprits), (Code::PeerUnavailable, [peer].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_not_start_after_its_deadline() {
    // The states take longer than the deadline to set up.
    testbed::established();
    let deadline = Duration::from_secs(2);
    let mut rig = Rig::start(|args| args.deadline = deadline).await;
    let answer = rig.ask(Scheme::Ecdsa, "r");
    let (_, session) = rig.proposal().await;
    let (reply, states) = rig.pair_states().await;
    let silence = rig.silence().await;
    reply.send(Ok(states)).unwrap();
    tokio::time::sleep(deadline).await;
    drop(silence);
    let said = rig.said(session).await;
    assert!(matches!(said, SessionBody::Abort { code: Code::SessionTimeout, .. }), "{said:?}");
    let failure = answer.await.unwrap().unwrap_err();
    assert_eq!(
        (failure.code, failure.culprits),
        (Code::SessionTimeout, [rig.bench.id(ME)].into()),
        "no peer is to blame"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_be_called_off_when_signing_fails_while_its_engine_is_built() {
    let mut rig = Rig::start(|_| ()).await;
    let answer = rig.ask(Scheme::Ecdsa, "r");
    let (_, session) = rig.proposal().await;
    let _asked = rig.pair_states().await;
    rig.signing.cast(SigningMsg::InjectPanic).unwrap();
    assert_eq!(answer.await.unwrap().unwrap_err().code, Code::Cancelled);
    match rig.said(session).await {
        SessionBody::Abort { code: Code::Cancelled, culprits, .. } => assert_eq!(culprits, vec![rig.bench.id(ME)]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_end_at_once_when_its_abort_has_overtaken_its_proposal() {
    let rig = Rig::start(|_| ()).await;
    let (coordinator, refused) = (rig.bench.id(0), vec![rig.bench.id(2)]);
    let sheet = rig.sheet("r", Duration::from_secs(60));
    let (session, _) = rig.bench.proposal(0, &sheet);
    let abort = SessionBody::Abort { code: Code::SessionDuplicate, culprits: refused, round: 1 };
    rig.signing.cast(SigningMsg::Peer(rig.bench.said_by(0, Service::Signing, session, abort))).unwrap();
    assert_eq!(rig.propose(&sheet), session);
    eventually("the session is over", async || rig.snapshot().await.aborted == 1).await.unwrap();
    let snapshot = rig.snapshot().await;
    assert_eq!((snapshot.sessions, snapshot.requests), (vec![], 0));
    let last = snapshot.last_abort.unwrap();
    assert_eq!((last.code, last.reported_by), (Code::SessionDuplicate, Some(coordinator)));
}
