//! Whose work counts against which limit, and what a member that is stopping takes.

use super::*;
use crate::error::Code;

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_not_be_refused_because_of_what_others_coordinate() {
    let mut rig = Rig::start(|args| args.max_concurrent = 1).await;
    rig.joined("theirs", Duration::from_secs(20)).await;
    let answer = rig.ask(Scheme::Ed25519, "own");
    rig.proposal().await;
    assert!(!answer.is_finished());
    let failure = rig.ask(Scheme::Ed25519, "one more").await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::ConcurrencyLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_signing__should_take_nothing_new() {
    let mut rig = Rig::start(|_| ()).await;
    for _ in 0..2 {
        rig.signing.call(PATIENCE, SigningMsg::Drain).await.unwrap();
        let failure = rig.ask(Scheme::Ed25519, "r").await.unwrap().unwrap_err();
        assert_eq!(failure.code, Code::Cancelled);
        let session = rig.propose(&rig.sheet("r", Duration::from_secs(20)));
        let answer = rig.said(session).await;
        assert!(matches!(answer, SessionBody::Refuse { code: Code::ConcurrencyLimit, .. }), "{answer:?}");
    }
}
