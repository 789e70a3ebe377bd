//! A key generation, interrupted at every step of its commit: in the end a wallet is everywhere or nowhere.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::ids::NodeId;
use quorate::keys::PublicKey;
use quorate::storage::{Family, Point};
use quorate::testing::{Cluster, eventually};

use crate::stage::{ANY, cluster};

/// A node dies at the write that makes its shares pending, or at the one that makes them active.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pending,
    Active,
}

impl Step {
    fn family(self) -> Family {
        match self {
            Self::Pending => Family::Shares,
            // Only the certificate is written there.
            Self::Active => Family::Wallets,
        }
    }
}

/// Which nodes die, at which step, before or after its write; and what becomes of the wallet.
type Crash = (&'static str, &'static [usize], Step, Point, bool);

const CRASHES: [Crash; 9] = [
    ("a participant has stored nothing", &[1], Step::Pending, Point::BeforeWrite, false),
    ("a participant has stored and not signed", &[1], Step::Pending, Point::AfterWrite, true),
    ("a participant has not activated", &[1], Step::Active, Point::BeforeWrite, true),
    ("a participant has activated and told nobody", &[1], Step::Active, Point::AfterWrite, true),
    ("the coordinator has stored nothing", &[0], Step::Pending, Point::BeforeWrite, false),
    ("the coordinator has stored and not signed", &[0], Step::Pending, Point::AfterWrite, true),
    ("the coordinator has not activated", &[0], Step::Active, Point::BeforeWrite, true),
    ("the coordinator has activated and not answered", &[0], Step::Active, Point::AfterWrite, true),
    ("only one node has activated", &[1, 2], Step::Active, Point::BeforeWrite, true),
];

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_keygen__should_end_everywhere_or_nowhere() {
    let mut cluster = cluster(2, 3, |settings| settings.keygen_deadline = Duration::from_secs(30)).await;
    for (number, (what, nodes, step, point, exists)) in CRASHES.into_iter().enumerate() {
        let wallet = format!("wallet-{number}");
        interrupt(&mut cluster, &wallet, nodes, step, point).await;
        for &node in nodes {
            cluster.restart(node).await.unwrap();
        }
        cluster.until_ready().await.unwrap();
        until_settled(&cluster).await;
        assert_eq!(everywhere(&cluster, &wallet).await.is_some(), exists, "{what}");
        // The same request makes the wallet, or finds it made.
        let made = cluster.make_wallet(0, &wallet, &[ANY]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let key = made.record().key(ANY).unwrap().public_key();
        until_settled(&cluster).await;
        assert_eq!(everywhere(&cluster, &wallet).await, Some(key), "{what}");
        sign_with_every_quorum(&cluster, &wallet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen__should_survive_the_loss_of_all_nodes_before_any_has_activated() {
    let mut cluster = cluster(2, 3, |settings| settings.keygen_deadline = Duration::from_secs(30)).await;
    interrupt(&mut cluster, "v", &[0, 1, 2], Step::Active, Point::BeforeWrite).await;
    for node in 0..3 {
        cluster.restart(node).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    until_settled(&cluster).await;
    assert!(everywhere(&cluster, "v").await.is_some(), "all have signed, so there is a certificate");
    sign_with_every_quorum(&cluster, "v").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsettled_wallet__should_be_refused_while_a_member_is_away_and_be_free_when_nobody_has_it() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    interrupt(&mut cluster, "v", &[2], Step::Pending, Point::BeforeWrite).await;
    cluster.until_unready(2).await.unwrap();
    eventually("the others hold pending shares", async || {
        let unsettled = async |node| cluster.keygen(node).await.unwrap().unsettled.len() == 1;
        unsettled(0).await && unsettled(1).await
    })
    .await
    .unwrap();
    assert_eq!(cluster.pending_wallets(0).await.unwrap(), ["v".to_owned()].into());
    assert!(cluster.make_wallet(0, "v", &[ANY]).await.is_err());
    // They survive crashes of those that hold them.
    cluster.lose(1).await.unwrap();
    cluster.restart(1).await.unwrap();
    assert_eq!(cluster.pending_wallets(1).await.unwrap(), ["v".to_owned()].into());
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    until_settled(&cluster).await;
    assert_eq!(everywhere(&cluster, "v").await, None);
    cluster.make_wallet(1, "v", &[ANY]).await.unwrap();
}

/// Has node 0 make a wallet, and loses `nodes` at that step.
async fn interrupt(cluster: &mut Cluster, wallet: &str, nodes: &[usize], step: Step, point: Point) {
    let mut holds = Vec::new();
    for &node in nodes {
        holds.push((node, cluster.hold_write(node, point, step.family()).unwrap()));
    }
    let request = cluster.keygen_request(wallet, &[ANY]).unwrap();
    let client = cluster.client(0).unwrap().start_keygen(request);
    for (_, hold) in &mut holds {
        hold.reached().await;
    }
    for (node, hold) in holds {
        cluster.lose_at(node, hold).await.unwrap();
    }
    // The client is told something, and what it is told as a success holds.
    if let Ok(generated) = client.await.unwrap() {
        assert!(generated.fresh);
    }
}

/// Waits until no node holds anything pending, in its mind or in its store.
async fn until_settled(cluster: &Cluster) {
    eventually("nothing is pending", async || {
        for node in 0..3 {
            let keygen = cluster.keygen(node).await.unwrap();
            let settled = keygen.running.is_empty() && keygen.unsettled.is_empty();
            if !settled || !cluster.pending_wallets(node).await.unwrap().is_empty() {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
}

/// The wallet's key if all nodes have it, nothing if none has; anything else is a mixture.
async fn everywhere(cluster: &Cluster, wallet: &str) -> Option<PublicKey> {
    let mut keys: Vec<Option<PublicKey>> = Vec::new();
    for node in 0..3 {
        let certificate = cluster.node(node).unwrap().wallet(wallet.parse().unwrap()).await.unwrap();
        keys.push(certificate.map(|certificate| certificate.record().key(ANY).unwrap().public_key()));
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "a mixture: {keys:?}");
    keys.pop().flatten()
}

/// Signs with every pair of nodes: a coordinator takes its two peers by turns.
async fn sign_with_every_quorum(cluster: &Cluster, wallet: &str) {
    let mut quorums: BTreeSet<BTreeSet<NodeId>> = BTreeSet::new();
    for coordinator in 0..3 {
        for _ in 0..2 {
            let mut before = Vec::new();
            for node in 0..3 {
                before.push(cluster.signing(node).await.unwrap().signed);
            }
            cluster.sign(coordinator, ANY, wallet).await.unwrap();
            let signers = async || {
                let mut signers = BTreeSet::new();
                for (node, before) in before.iter().enumerate() {
                    if cluster.signing(node).await.unwrap().signed > *before {
                        signers.insert(cluster.id(node).unwrap());
                    }
                }
                signers
            };
            eventually("both signers are through", async || signers().await.len() == 2).await.unwrap();
            quorums.insert(signers().await);
        }
    }
    assert_eq!(quorums.len(), 3, "{quorums:?}");
}
