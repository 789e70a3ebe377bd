//! Pair setups that differ, and pairs that are banned.

use quorate::error::Code;
use quorate::ids::{Epoch, NodeId, Scheme, SheetHash};
use quorate::pairing::PairingMsg;
use quorate::storage::{Batch, Durability, Family};
use quorate::testing::{ActorName, Cluster, HarnessError, eventually};

use crate::stage::builder;

const SCHEMES: [Scheme; 2] = [Scheme::Ecdsa, Scheme::Ed25519];
const ASK: std::time::Duration = std::time::Duration::from_secs(10);

async fn pairs() -> Cluster {
    let cluster = builder(2, 3).settings(|s| s.lease_ttl = std::time::Duration::from_secs(1)).start().await.unwrap();
    cluster.make_wallet(0, "w", &SCHEMES).await.unwrap();
    cluster
}

fn code<T>(result: Result<T, HarnessError>) -> Option<Code> {
    match result {
        Err(HarnessError::Failure(failure)) => Some(failure.code),
        _ => None,
    }
}

async fn epoch(cluster: &Cluster, holder: usize, with: usize) -> Option<Epoch> {
    let with = cluster.id(with).unwrap();
    cluster.pairing(holder).await.ok().and_then(|pairing| pairing.epochs.get(&with).copied())
}

/// Waits until nodes 0 and 1 hold the same epoch, and one other than `former`.
async fn until_paired(cluster: &Cluster, former: Option<Epoch>) -> Epoch {
    eventually("nodes 0 and 1 have a new setup", async || {
        let epochs = (epoch(cluster, 0, 1).await, epoch(cluster, 1, 0).await);
        epochs.0.is_some() && epochs.0 == epochs.1 && epochs.0 != former
    })
    .await
    .unwrap();
    let paired = [cluster.id(0).unwrap(), cluster.id(1).unwrap()];
    let sees = |view: &quorate::registry::View| {
        !paired.contains(&view.me)
            || (view.can_run(Scheme::Ecdsa, paired[0], paired[1])
                && paired.iter().all(|node| view.ready().contains(node)))
    };
    cluster.until_all("the pair is seen", sees).await.unwrap();
    epoch(cluster, 0, 1).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ban__should_hold_for_every_wallet_and_life_until_it_is_lifted() {
    let mut cluster = pairs().await;
    cluster.make_wallet(1, "v", &SCHEMES).await.unwrap();
    let (zero, one): (NodeId, NodeId) = (cluster.id(0).unwrap(), cluster.id(1).unwrap());
    let former = epoch(&cluster, 0, 1).await;
    let to = &cluster.addresses(0).unwrap().pairing;
    let ban = |reply| PairingMsg::Ban { peer: one, session: SheetHash([9; 32]), reply };
    to.call(ASK, ban).await.unwrap().unwrap();
    assert_eq!(cluster.pairing(0).await.unwrap().banned, [one].into());
    let unusable = |view: &quorate::registry::View| !view.can_run(Scheme::Ecdsa, zero, one);
    cluster.until_all("everybody sees the pair unusable", unusable).await.unwrap();
    // The third node works with either.
    cluster.sign(0, Scheme::Ecdsa, "w").await.unwrap();
    cluster.sign(1, Scheme::Ecdsa, "v").await.unwrap();

    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    for life in 0..3 {
        for wallet in ["w", "v"] {
            for number in [0, 1] {
                assert_eq!(code(cluster.sign(number, Scheme::Ecdsa, wallet).await), Some(Code::NotMajority));
            }
            cluster.sign(0, Scheme::Ed25519, wallet).await.unwrap();
        }
        match life {
            0 => cluster.crash(0, ActorName::Pairing).await.unwrap(),
            1 => {
                cluster.lose(0).await.unwrap();
                cluster.restart(0).await.unwrap();
            }
            _ => break,
        }
        cluster.until_ready().await.unwrap();
        assert_eq!(cluster.pairing(0).await.unwrap().banned, [one].into());
    }

    let to = &cluster.addresses(0).unwrap().pairing;
    to.call(ASK, |reply| PairingMsg::LiftBan { peer: one, reply }).await.unwrap().unwrap();
    until_paired(&cluster, former).await;
    assert!(cluster.pairing(0).await.unwrap().banned.is_empty());
    for number in [0, 1] {
        cluster.sign(number, Scheme::Ecdsa, "w").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pair__should_be_set_up_anew_when_its_epochs_differ() {
    let mut cluster = pairs().await;
    let key = cluster.id(1).unwrap().0.as_bytes().to_vec();
    let first = epoch(&cluster, 0, 1).await.unwrap();

    // One side has lost its record.
    cluster.lose(0).await.unwrap();
    let delete = Batch::new().delete(Family::Pairs, key.clone());
    let lost = cluster
        .with_store(0, async |store| {
            let record = store.get(Family::Pairs, key.clone()).await?;
            store.write(delete, Durability::Synced).await.map(|()| record)
        })
        .await
        .unwrap();
    cluster.restart(0).await.unwrap();
    let second = until_paired(&cluster, Some(first)).await;
    assert!(second > first);

    // One side was put back to an earlier state.
    cluster.lose(0).await.unwrap();
    let put_back = Batch::new().put(Family::Pairs, key, lost.unwrap());
    cluster.with_store(0, async |store| store.write(put_back, Durability::Synced).await).await.unwrap();
    cluster.restart(0).await.unwrap();
    let third = until_paired(&cluster, Some(second)).await;
    assert!(third > second);

    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    for number in [0, 1] {
        cluster.sign(number, Scheme::Ecdsa, "w").await.unwrap();
    }
}
