//! The whole cluster in one process, as its users meet it.
#![expect(clippy::unwrap_used, reason = "a test that fails should stop")]

use quorate::ids::{ClusterId, Scheme, Threshold, WalletId};
use quorate::keys::DerivationPath;
use quorate::local_cluster::{LocalCluster, setup_limit};
use quorate::node::Settings;
use quorate::protocol::verify::verify;

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
