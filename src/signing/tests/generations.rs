//! Wallets that are reshared while requests for them are at work.

use super::*;
use crate::ids::Generation;
use crate::storage::{Batch, Durability, Family};
use crate::wallet::share_key;

impl Rig {
    /// The wallet is reshared on the member under test.
    async fn reshare(&self) -> PlantedWallet {
        let (record, me) = (self.wallet.certificate.record(), self.bench.id(ME));
        let committee = record.keys.first().unwrap().committee.clone();
        let threshold = self.bench.settings.threshold;
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
    assert!(matches!(said, SessionBody::Refuse { code: crate::error::Code::SessionStale, .. }), "{said:?}");
}
