//! What a member does before its share leaves once more for the same request, and what it tells others who ask.

use super::*;
use crate::error::Code;
use crate::keys::Signature;
use crate::signing::prepare::Desk;
use crate::signing::wallets::Wallets;
use crate::signing::work::Work;
use crate::signing::{AdmissionRecord, Attempted};
use crate::storage::{Batch, Durability, Family};
use crate::testing::eventually;
use crate::transport::{Credit, DownReason, Inbound};
use crate::wire::message::{PeerMessage, SigningOutcome};

/// A session that an earlier life of the member took part in, with member 2.
pub(super) const EARLIER: SheetHash = SheetHash([9; 32]);
pub(super) const SIGNATURE: Signature = Signature::Ed25519([7; 64]);

impl Rig {
    pub(super) async fn put(&self, id: &str, answer: Option<Signature>, attempt: Option<Attempted>) {
        let content = self.request(Scheme::Ed25519, id).content_hash();
        let record = AdmissionRecord { content, answer, attempt }.encode().unwrap();
        let batch = Batch::new().put(Family::Results, self.key(id).storage_key(), record);
        self.store.write(batch, Durability::Buffered).await.unwrap();
    }

    /// The member was cut off from member 2 after its share had left.
    pub(super) async fn cut_off(&self, id: &str) {
        let signers = vec![self.bench.id(ME), self.bench.id(2)];
        self.put(id, None, Some(Attempted { session: EARLIER, signers })).await;
    }

    /// The session that the member's record names.
    pub(super) async fn on_record(&self, id: &str) -> Option<SheetHash> {
        let stored = self.store.get(Family::Results, self.key(id).storage_key()).await.unwrap()?;
        Some(AdmissionRecord::decode(stored.expose()).unwrap().attempt?.session)
    }

    /// The next question about a session, and to whom.
    pub(super) async fn question(&mut self) -> (NodeId, SheetHash) {
        self.transport
            .find(|message| match message {
                TransportMsg::Send { to, message: PeerMessage::SigningQuery { session, .. } } => Some((to, session)),
                _ => None,
            })
            .await
    }

    /// The next answer to such a question.
    pub(super) async fn told(&mut self) -> (NodeId, SheetHash, SigningOutcome) {
        self.transport
            .find(|message| match message {
                TransportMsg::Send { to, message: PeerMessage::SigningReply { session, outcome } } => {
                    Some((to, session, outcome))
                }
                _ => None,
            })
            .await
    }

    fn says(&self, member: usize, message: PeerMessage) {
        let inbound = Inbound { from: self.bench.id(member), message, credit: Credit::none() };
        self.signing.cast(SigningMsg::Peer(inbound)).unwrap();
    }

    pub(super) fn replies(&self, member: usize, outcome: SigningOutcome) {
        self.says(member, PeerMessage::SigningReply { session: EARLIER, outcome });
    }

    fn query(&self, id: &str, session: SheetHash) -> PeerMessage {
        let RequestKey { wallet, request } = self.key(id);
        let content = self.request(Scheme::Ed25519, id).content_hash();
        PeerMessage::SigningQuery { wallet, request, content, session }
    }

    /// Member 2 asks what became of a session.
    pub(super) fn asks(&self, id: &str, session: SheetHash) {
        self.says(2, self.query(id, session));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn share__should_wait_until_the_signers_of_an_earlier_session_say_that_it_is_over() {
    let mut rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    let session = rig.joined("r", Duration::from_secs(20)).await;
    assert_eq!(rig.question().await, (rig.bench.id(2), EARLIER));
    rig.replies(2, SigningOutcome::Running);
    assert_eq!(rig.question().await, (rig.bench.id(2), EARLIER), "it is asked again");
    rig.replies(0, SigningOutcome::Closed);
    rig.snapshot().await;
    assert_eq!(rig.on_record("r").await, Some(EARLIER), "nobody speaks for another");
    rig.replies(2, SigningOutcome::Closed);
    eventually("the session is on record", async || rig.on_record("r").await == Some(session)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_fail_when_a_signer_of_an_earlier_one_is_lost() {
    let mut rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    let session = rig.joined("r", Duration::from_secs(20)).await;
    rig.question().await;
    let peer = rig.bench.id(2);
    rig.signing.cast(SigningMsg::Link(PeerEvent::Down { peer, reason: DownReason::Silent })).unwrap();
    match rig.said(session).await {
        SessionBody::Abort { code: Code::PeerUnavailable, culprits, .. } => assert_eq!(culprits, vec![peer]),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.on_record("r").await, Some(EARLIER));
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_be_told_who_may_have_its_answer() {
    let rig = Rig::start(|args| args.on_peer_failure = crate::signing::OnPeerFailure::Retry).await;
    rig.cut_off("r").await;
    let mut view = View::empty(rig.bench.id(ME), rig.bench.peers.ids());
    for (&peer, status) in &mut view.peers {
        let linked = peer != rig.bench.id(2);
        *status = PeerStatus { leased: true, linked, serving: true, ..PeerStatus::default() };
    }
    rig.signing.cast(SigningMsg::View(Arc::new(view))).unwrap();
    let failure = rig.ask(Scheme::Ed25519, "r").await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::PeerUnavailable, [rig.bench.id(2)].into()));
    assert!(failure.reason.contains("ask again"), "{}", failure.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_stored_while_its_request_came_in__should_be_found_before_anybody_is_asked() {
    let rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    let desk = Desk { args: rig.args.clone(), wallets: Wallets::default() };
    let prepared = desk.prepare_for_client(rig.request(Scheme::Ed25519, "r")).await.unwrap();
    rig.put("r", Some(SIGNATURE), None).await;
    let answer = rig.signing.call(PATIENCE, |reply| Work::Prepared { reply, result: Ok(Box::new(prepared)) }.into());
    assert_eq!(answer.await.unwrap().unwrap().signature, SIGNATURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn signer__should_be_blamed_for_an_answer_that_does_not_verify() {
    let mut rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    let answer = rig.ask(Scheme::Ed25519, "r");
    rig.question().await;
    rig.replies(2, SigningOutcome::Answered(SIGNATURE));
    let failure = answer.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::ProtocolViolation, [rig.bench.id(2)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_tell_an_answer_once_it_is_durable() {
    let mut rig = Rig::start(|_| ()).await;
    rig.put("r", Some(SIGNATURE), None).await;
    let synced = rig.store.snapshot().await.unwrap().synced_groups;
    rig.asks("r", EARLIER);
    let (to, session, outcome) = rig.told().await;
    assert_eq!((to, session), (rig.bench.id(2), EARLIER));
    assert!(matches!(outcome, SigningOutcome::Answered(SIGNATURE)), "{outcome:?}");
    let is_synced = async || rig.store.snapshot().await.unwrap().synced_groups > synced;
    eventually("the answer is durable", is_synced).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_not_tell_the_answer_of_another_content() {
    let mut rig = Rig::start(|_| ()).await;
    // A quorum that has no node in common with the asking one's has signed another content under the same id.
    rig.put("r", Some(SIGNATURE), None).await;
    let RequestKey { wallet, request } = rig.key("r");
    rig.says(2, PeerMessage::SigningQuery { wallet, request, content: [5; 32], session: EARLIER });
    assert!(matches!(rig.told().await, (_, EARLIER, SigningOutcome::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_say_that_a_session_is_over_of_which_it_knows_no_answer() {
    let mut rig = Rig::start(|_| ()).await;
    rig.cut_off("r").await;
    for request in ["r", "never heard of"] {
        rig.asks(request, EARLIER);
        assert!(matches!(rig.told().await, (_, EARLIER, SigningOutcome::Closed)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_leave_a_session_that_another_signer_asks_about() {
    let mut rig = Rig::start(|_| ()).await;
    let session = rig.joined("r", Duration::from_secs(20)).await;
    rig.asks("r", session);
    assert!(matches!(rig.told().await.2, SigningOutcome::Running), "member 2 has no part in it");
    assert_eq!(rig.snapshot().await.sessions, vec![session]);
    rig.says(0, rig.query("r", session));
    assert!(matches!(rig.told().await.2, SigningOutcome::Running));
    eventually("the session is over", async || rig.snapshot().await.sessions.is_empty()).await.unwrap();
    rig.says(0, rig.query("r", session));
    assert!(matches!(rig.told().await.2, SigningOutcome::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn share_that_never_left__should_need_no_asking() {
    let mut rig = Rig::start(|_| ()).await;
    let first = rig.joined("r", Duration::from_secs(20)).await;
    eventually("it is on record", async || rig.on_record("r").await == Some(first)).await.unwrap();
    let peer = rig.bench.id(0);
    rig.signing.cast(SigningMsg::Link(PeerEvent::Down { peer, reason: DownReason::Silent })).unwrap();
    eventually("the session is over", async || rig.snapshot().await.sessions.is_empty()).await.unwrap();
    let second = rig.joined("r", Duration::from_secs(30)).await;
    eventually("the next is on record", async || rig.on_record("r").await == Some(second)).await.unwrap();
}
