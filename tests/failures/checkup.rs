//! Check-ups: every member's share is proved to work, and whose does not is told.

use quorate::checkup::{CheckedUp, CheckupMsg};
use quorate::error::Code;
use quorate::ids::{Generation, NodeId, Scheme};
use quorate::storage::{Batch, Durability, Family};
use quorate::testing::{Cluster, PATIENCE, eventually};
use quorate::wallet::share_key;

use crate::stage::{ANY, builder, cluster};

async fn check_up(cluster: &Cluster, number: usize, wallet: &str) -> CheckedUp {
    let checkup = cluster.node(number).unwrap().addresses().checkup.clone();
    let wallet = wallet.parse().unwrap();
    checkup.call(PATIENCE, |reply| CheckupMsg::Check { wallet, reply }).await.unwrap().unwrap()
}

/// The members whose shares did not sign, and why.
fn failed(checked: &CheckedUp) -> Vec<(NodeId, Code)> {
    let members = checked.keys.iter().flat_map(|key| &key.members);
    members.filter_map(|(&node, &problem)| Some((node, problem?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_up__should_prove_all_keys_of_all_members() {
    let cluster = builder(2, 3).start().await.unwrap();
    cluster.make_wallet(0, "w", &Scheme::ALL).await.unwrap();
    cluster.until_ready().await.unwrap();
    for number in 0..3 {
        let checked = check_up(&cluster, number, "w").await;
        assert_eq!((checked.keys.len(), failed(&checked)), (3, vec![]));
    }
    // A refresh makes other shares, which work as well.
    cluster.reshare(0, "w", &Scheme::ALL, 2, &[0, 1, 2]).await.unwrap();
    let checked = check_up(&cluster, 1, "w").await;
    assert!(checked.is_good(), "{checked:?}");
    assert!(checked.keys.iter().all(|key| key.generation == Generation(1)));
    assert_eq!(cluster.checkups(1).await.unwrap().good, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_up__should_name_the_member_whose_share_is_gone_and_the_one_that_is_away() {
    let mut cluster = cluster(2, 4, |_| ()).await;
    let wallet = "w".parse().unwrap();
    cluster.lose(2).await.unwrap();
    let without = Batch::new().delete(Family::Shares, share_key(&wallet, ANY, Generation(0)));
    cluster.with_store(2, async |store| store.write(without, Durability::Synced).await).await.unwrap();
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    let (gone, away) = (cluster.id(2).unwrap(), cluster.id(3).unwrap());
    assert_eq!(failed(&check_up(&cluster, 0, "w").await), vec![(gone, Code::KeyNotFound)]);
    cluster.lose(3).await.unwrap();
    eventually("the loss is noticed", async || !cluster.registry(0).await.unwrap().ready().contains(&away))
        .await
        .unwrap();
    let mut expected = vec![(gone, Code::KeyNotFound), (away, Code::PeerUnavailable)];
    expected.sort_by_key(|&(node, _)| node);
    assert_eq!(failed(&check_up(&cluster, 0, "w").await), expected);
    // Whoever holds no share itself says so of itself.
    let own = failed(&check_up(&cluster, 2, "w").await);
    assert!(own.contains(&(gone, Code::KeyNotFound)), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_up__should_name_the_member_whose_wallet_is_in_quarantine() {
    let cluster = cluster(2, 3, |_| ()).await;
    cluster.quarantine(1, "w").await.unwrap();
    let quarantined = (cluster.id(1).unwrap(), Code::WalletQuarantined);
    assert_eq!(failed(&check_up(&cluster, 0, "w").await), vec![quarantined]);
    let checkup = cluster.node(1).unwrap().addresses().checkup.clone();
    let wallet = "w".parse().unwrap();
    let refused = checkup.call(PATIENCE, |reply| CheckupMsg::Check { wallet, reply }).await.unwrap();
    assert_eq!(refused.unwrap_err().code, Code::WalletQuarantined, "it cannot check others");
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_be_checked_unasked_by_one_of_its_members() {
    let every = std::time::Duration::from_secs(2);
    let cluster = cluster(2, 3, |settings| settings.checkup_every = Some(every)).await;
    eventually("the wallet is checked twice", async || {
        let mut good = Vec::new();
        for number in 0..3 {
            good.push(cluster.checkups(number).await.unwrap().good);
        }
        good.iter().filter(|&&times| times > 0).count() == 1 && good.iter().any(|&times| times >= 2)
    })
    .await
    .unwrap();
    let mut ages = Vec::new();
    for number in 0..3 {
        ages.push(cluster.checkups(number).await.unwrap().ages);
    }
    assert_eq!(ages.iter().map(|ages| ages.wallets).sum::<u64>(), 1);
    assert!(ages.iter().all(|ages| ages.failing == 0), "{ages:?}");
}
