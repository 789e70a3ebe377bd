//! The whole cluster in one process, as its users meet it.
#![expect(clippy::unwrap_used, reason = "a test that fails should stop")]

use std::sync::Arc;
use std::time::Duration;

use quorate::ids::{ClusterId, Scheme, Threshold, WalletId};
use quorate::keys::DerivationPath;
use quorate::local_cluster::{LocalCluster, setup_limit};
use quorate::node::Settings;
use quorate::protocol::verify::verify;
use quorate::registry::View;
use quorate::storage::{Action, Family, Fault, Point};
use quorate::transport::broker::PublishError;

fn settings(t: u8, n: u8) -> Settings {
    Settings::new("test".parse::<ClusterId>().unwrap(), Threshold::new(t, n).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster__should_make_a_wallet_and_sign_with_every_scheme_on_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = LocalCluster::prepare(folder.path(), &settings(2, 3), |policy| policy).unwrap();
    cluster.start_all().await.unwrap();
    tokio::time::timeout(setup_limit(3), cluster.until_complete()).await.unwrap().unwrap();
    let wallet: WalletId = "treasury".parse().unwrap();
    let request = cluster.keygen_request(&wallet, &Scheme::ALL).unwrap();
    let made = cluster.node(0).unwrap().keygen(request).await.unwrap();
    for scheme in Scheme::ALL {
        for number in 0..cluster.len() {
            let request = format!("{scheme}-{number}").parse().unwrap();
            let path = DerivationPath::try_from(vec![7; number]).unwrap();
            let request = cluster.sign_request(scheme, &wallet, &request, path, &[7; 32]).unwrap();
            let signed = cluster.node(number).unwrap().sign(request.clone()).await.unwrap();
            verify(&signed.public_key, request.message(), request.tweak(), &signed.signature).unwrap();
            let root = made.certificate.record().key(scheme).unwrap().public_key();
            assert_eq!(signed.public_key == root, number == 0, "only the empty path is the wallet's own key");
        }
    }
    cluster.shutdown_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_sign_as_soon_as_one_node_has_reported_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = LocalCluster::prepare(folder.path(), &settings(2, 2), |policy| policy).unwrap();
    let (release, held) = std::sync::mpsc::channel();
    // The write that would make the wallet active on node 1.
    drop(cluster.args(1).unwrap().storage.faults.plan(Fault {
        point: Point::BeforeWrite,
        family: Some(Family::Wallets),
        after_groups: 0,
        action: Action::Wait(held),
    }));
    cluster.start_all().await.unwrap();
    let scheme = Scheme::Ed25519;
    let ready = cluster.until(|view| view.is_complete(scheme));
    tokio::time::timeout(setup_limit(2), ready).await.unwrap().unwrap();
    let wallet: WalletId = "treasury".parse().unwrap();
    let request = cluster.keygen_request(&wallet, &[scheme]).unwrap();
    cluster.node(0).unwrap().keygen(request).await.unwrap();
    let sign = async |number: usize| {
        let request = format!("of {number}").parse().unwrap();
        let request = cluster.sign_request(scheme, &wallet, &request, DerivationPath::default(), b"now").unwrap();
        cluster.node(number).unwrap().sign(request).await
    };
    let mut both = Box::pin(async { tokio::join!(sign(0), sign(1)) });
    // Until node 1 has the wallet, neither client is told anything.
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut both).await.is_err());
    drop(release);
    let (from_0, from_1) = both.await;
    from_0.unwrap();
    from_1.unwrap();
    cluster.shutdown_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_node__should_have_no_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = LocalCluster::prepare(folder.path(), &settings(2, 2), |policy| policy).unwrap();
    cluster.start_all().await.unwrap();
    let linked = |view: &View| view.peers.values().all(|peer| peer.linked);
    cluster.until(linked).await.unwrap();
    // What the node's parts say their last words to, should they outlive its root.
    let broker = Arc::clone(&cluster.args(1).unwrap().broker);
    let say = || broker.publish("anywhere", b"farewell".to_vec());
    assert_eq!(say().await, Err(PublishError::NoResponders), "the broker would carry it");
    cluster.kill(1).await;
    assert_eq!(say().await, Err(PublishError::Disconnected));
    cluster.node(0).unwrap().until(|view| !linked(view)).await.unwrap();
    cluster.start(1).await.unwrap();
    cluster.until(linked).await.unwrap();
    cluster.shutdown_all().await;
}
