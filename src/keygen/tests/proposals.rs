//! Proposals that come out of order, and work that is refused.

use super::*;
use crate::error::Code;
use crate::session::MAX_ANSWERING;
use crate::testing::PlantedWallet;

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_not_take_the_place_of_a_later_one_of_its_coordinator() {
    let mut rig = Rig::start((2, 3), async |_, _| (), |_| ()).await;
    let earlier = rig.sheet("w", Duration::from_secs(20));
    let later = rig.sheet("w", Duration::from_secs(21));
    let running = rig.propose(&later);
    assert!(matches!(rig.said(running).await, SessionBody::Round { round: 1, .. }));
    let overtaken = rig.propose(&earlier);
    let answer = rig.said(overtaken).await;
    assert!(matches!(answer, SessionBody::Refuse { code: Code::SessionDuplicate, .. }), "{answer:?}");
    assert_eq!(rig.snapshot().await.aborted, 0, "the later one goes on");

    // In the order in which they were made, the later one takes over.
    let latest = rig.sheet("w", Duration::from_secs(22));
    let session = rig.propose(&latest);
    assert!(matches!(rig.said(session).await, SessionBody::Round { round: 1, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_keygen__should_take_nothing_new() {
    let mut rig = Rig::start((2, 3), async |_, _| (), |_| ()).await;
    for _ in 0..2 {
        rig.keygen.call(PATIENCE, KeygenMsg::Drain).await.unwrap();
        assert_eq!(rig.ask("w").await.unwrap().unwrap_err().code, Code::Cancelled);
        let session = rig.propose(&rig.sheet("w", Duration::from_secs(20)));
        let answer = rig.said(session).await;
        assert!(matches!(answer, SessionBody::Refuse { code: Code::ConcurrencyLimit, .. }), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries__should_not_pile_up() {
    let mut wallet = None;
    let rig = Rig::start(
        (2, 3),
        async |bench, store| {
            let (name, schemes, threshold) = (wallet_id("w"), [Scheme::Ed25519], bench.settings.threshold);
            let cluster = &bench.settings.cluster;
            let planted = PlantedWallet::deal(cluster, &bench.peers, &bench.identities, &name, threshold, &schemes);
            planted.store(bench.id(ME), store).await;
            wallet = Some(planted.certificate);
        },
        |_| (),
    )
    .await;
    let record = wallet.unwrap().record().clone();
    let query = || PeerMessage::KeygenQuery { wallet: record.wallet.clone(), session: record.session };
    let silence = rig.silence().await;
    for _ in 0..3 * MAX_ANSWERING {
        rig.send(0, query());
    }
    rig.send(2, query());
    assert_eq!(rig.snapshot().await.answering, MAX_ANSWERING + 1, "each member has room of its own");
    drop(silence);
    rig.until("all are answered", |snapshot| snapshot.answering == 0).await;
}
