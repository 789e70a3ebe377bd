//! Members that invent the destruction of wallets.

use quorate::destruction::{DestructionMsg, DestructionSnapshot};
use quorate::identity::{Algorithm, RequestKey};
use quorate::testing::PATIENCE;
use quorate::wallet::DestructionCertificate;
use quorate::wire::message::PeerMessage;
use quorate::wire::request::DestroyRequest;

use crate::stage::{Stage, auditor, eventually, wallet_id};

impl Stage {
    async fn destructions(&self, which: usize) -> DestructionSnapshot {
        self.honest(which).addresses().destruction.call(PATIENCE, DestructionMsg::Snapshot).await.unwrap()
    }

    /// A certificate of the destruction of `w`, with the liar's statement.
    fn certificate(&self, request: DestroyRequest) -> Vec<u8> {
        let mut certificate = DestructionCertificate::new(request, (*self.wallet.certificate).clone()).unwrap();
        certificate.state(&self.liar.args().identity, Vec::new(), 7).unwrap();
        certificate.encode().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_not_have_a_wallet_destroyed_that_nobody_allowed_to_be() {
    let stage = Stage::new().await;
    let record = stage.wallet.certificate.record();
    let keys: Vec<_> = record.keys.iter().map(|key| key.public_key()).collect();
    let builder = || DestroyRequest::builder(wallet_id("w"), &keys);
    let stranger = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let initiator = stage.cluster.initiator();
    // Not even what initiator and auditor have signed: the honest nodes' policy lets no wallet be destroyed.
    let approved = builder().approved_by(auditor(), &stage.auditor).sign_with(initiator).unwrap();
    let requests = [
        approved,
        builder().sign_with(initiator).unwrap(),
        builder().approved_by(auditor(), &stage.auditor).sign_with(&stranger).unwrap(),
        builder().approved_by(auditor(), &stranger).sign_with(initiator).unwrap(),
    ];
    let count = u64::try_from(requests.len()).unwrap();
    for request in requests {
        let certificate = stage.certificate(request);
        for which in 0..2 {
            let message =
                PeerMessage::Destroyed { wallet: wallet_id("w"), certificate: certificate.clone(), ask: true };
            stage.liar.send(stage.honest(which).id(), message);
        }
    }
    for which in 0..2 {
        eventually(|| async { (stage.destructions(which).await.refused == count).then_some(()) }).await;
        let snapshot = stage.destructions(which).await;
        assert_eq!((snapshot.destroyed, snapshot.open.len()), (0, 0));
    }
    stage.honest_signing_works().await;
}
