//! Wallets that are reshared while requests for them are at work.

use super::inquiries::{EARLIER, SIGNATURE};
use super::*;
use crate::error::Code;
use crate::ids::{Generation, PartyIndex};
use crate::reshare::Switched;
use crate::storage::{Batch, Durability, Family};
use crate::testing::eventually;
use crate::wallet::share_key;
use crate::wire::message::SigningOutcome;
use crate::wire::sheet::Participant;

impl Rig {
    /// The wallet is reshared on the member under test.
    async fn reshare(&self) -> PlantedWallet {
        self.reshare_to(&[0, 1, 2]).await
    }

    /// The wallet is reshared to these members, and the member under test knows.
    async fn reshare_to(&self, members: &[usize]) -> PlantedWallet {
        let (record, me) = (self.wallet.certificate.record(), self.bench.id(ME));
        let mut nodes: Vec<_> = members.iter().map(|&member| self.bench.id(member)).collect();
        nodes.sort();
        let index = |index: u8| PartyIndex::try_from(index).unwrap();
        let seats = (1..).zip(nodes).map(|(rank, node)| Participant { node, index: index(rank) });
        let committee: Vec<_> = seats.collect();
        let threshold = Threshold::new(2, u8::try_from(members.len()).unwrap()).unwrap();
        let reshared = self.wallet.reshared(&self.bench.peers, &self.bench.identities, &committee, threshold);
        let gone =
            |batch: Batch, scheme| batch.delete(Family::Shares, share_key(&record.wallet, scheme, Generation(0)));
        let gone = [Scheme::Ecdsa, Scheme::Ed25519].into_iter().fold(Batch::new(), gone);
        reshared.store(me, &self.store).await;
        self.store.write(gone, Durability::Synced).await.unwrap();
        reshared
    }

    fn sheet_after(&self, reshared: &PlantedWallet, id: &str) -> Sheet {
        let request = self.request(Scheme::Ed25519, id);
        let deadline_ms = self.bench.clock.now_ms() + 20_000;
        reshared.sheet(&request, self.bench.id(0), &[self.bench.id(0), self.bench.id(ME)], deadline_ms)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_use_the_share_it_was_checked_with_though_its_request_came_before_the_reshare() {
    let mut rig = Rig::start(|_| ()).await;
    // A client's request is at work, with the old share.
    let _answer = rig.ask(Scheme::Ed25519, "r");
    let (_, own) = rig.proposal().await;
    assert!(matches!(rig.said(own).await, SessionBody::Round { round: 1, .. }));
    let reshared = rig.reshare().await;
    // Member 0, whose session prevails, proposes the same request with the next generation.
    let session = rig.propose(&rig.sheet_after(&reshared, "r"));
    let said = rig.said(session).await;
    assert!(matches!(said, SessionBody::Round { round: 1, .. }), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_be_refused_for_a_generation_that_is_gone() {
    let mut rig = Rig::start(|_| ()).await;
    let before = rig.sheet("r", Duration::from_secs(20));
    rig.joined("other", Duration::from_secs(20)).await;
    rig.reshare().await;
    let session = rig.propose(&before);
    let said = rig.said(session).await;
    assert!(matches!(said, SessionBody::Refuse { code: Code::SessionStale, .. }), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn share__should_stay_when_the_wallet_is_reshared_while_an_earlier_session_is_asked_about() {
    let mut rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    let session = rig.joined("r", Duration::from_secs(20)).await;
    rig.question().await;
    rig.reshare().await;
    rig.replies(2, SigningOutcome::Closed);
    match rig.said(session).await {
        SessionBody::Abort { code: Code::ReshareInProgress, culprits, .. } => assert_eq!(culprits, vec![]),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.on_record("r").await, Some(EARLIER));
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_end_when_its_share_is_erased_though_its_request_is_admitted() {
    let mut rig = Rig::start(|_| ()).await;
    let session = rig.joined("r", Duration::from_secs(20)).await;
    eventually("it is on record", async || rig.on_record("r").await == Some(session)).await.unwrap();
    let certificate = rig.reshare().await.certificate;
    rig.signing.cast(SigningMsg::Switched(Switched(certificate))).unwrap();
    match rig.said(session).await {
        SessionBody::Abort { code: Code::ReshareInProgress, culprits, .. } => assert_eq!(culprits, vec![]),
        other => panic!("{other:?}"),
    }
    eventually("nothing is at work", async || rig.snapshot().await.requests == 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_go_on_when_another_generation_is_already_in_force() {
    let mut rig = Rig::start(|_| ()).await;
    let reshared = rig.reshare().await;
    let session = rig.propose(&rig.sheet_after(&reshared, "r"));
    assert!(matches!(rig.said(session).await, SessionBody::Round { round: 1, .. }));
    // Told late.
    rig.signing.cast(SigningMsg::Switched(Switched(reshared.certificate))).unwrap();
    assert_eq!(rig.snapshot().await.sessions, vec![session]);
    eventually("it is on record", async || rig.on_record("r").await == Some(session)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_ask_a_signer_of_an_earlier_session_that_has_left_the_committee() {
    let mut rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    let reshared = rig.reshare_to(&[0, 1]).await;
    let session = rig.propose(&rig.sheet_after(&reshared, "r"));
    assert_eq!(rig.question().await, (rig.bench.id(2), EARLIER));
    assert_eq!(rig.on_record("r").await, Some(EARLIER));
    rig.replies(2, SigningOutcome::Closed);
    eventually("the session is on record", async || rig.on_record("r").await == Some(session)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_left_the_committee__should_tell_the_answer_of_an_earlier_session() {
    let mut rig = Rig::start(|_| ()).await;
    rig.put("r", Some(SIGNATURE), None).await;
    rig.cut_off("open").await;
    rig.reshare_to(&[0, 2]).await;
    rig.asks("r", EARLIER);
    let (to, session, outcome) = rig.told().await;
    assert_eq!((to, session), (rig.bench.id(2), EARLIER));
    assert!(matches!(outcome, SigningOutcome::Answered(SIGNATURE)), "{outcome:?}");
    rig.asks("open", EARLIER);
    assert!(matches!(rig.told().await, (_, EARLIER, SigningOutcome::Closed)));
}
