//! The whole cluster in one process, as its users meet it.

use std::time::{Duration, Instant};

use quorate::ids::{ClusterId, Scheme, Threshold, WalletId};
use quorate::keys::DerivationPath;
use quorate::local_cluster::{LocalCluster, setup_limit};
use quorate::node::Settings;
use quorate::protocol::verify::verify;

fn settings(t: u8, n: u8) -> Settings {
    Settings::new("test".parse::<ClusterId>().unwrap(), Threshold::new(t, n).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster__should_make_a_wallet_and_sign_with_every_scheme() {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = LocalCluster::prepare(folder.path(), &settings(2, 3), |policy| policy).unwrap();
    let t = Instant::now();
    cluster.start_all().await.unwrap();
    eprintln!("started {:?}", t.elapsed());
    tokio::time::timeout(setup_limit(3), cluster.until_complete()).await.unwrap().unwrap();
    eprintln!("complete {:?}", t.elapsed());
    let wallet: WalletId = "w".parse().unwrap();
    let t = Instant::now();
    let request = cluster.keygen_request(&wallet, &Scheme::ALL).unwrap();
    let made = cluster.node(0).unwrap().keygen(request).await.unwrap();
    eprintln!("keygen {:?}", t.elapsed());
    for (number, scheme) in Scheme::ALL.into_iter().enumerate() {
        for round in 0..5 {
            let request = format!("r{number}{round}").parse().unwrap();
            let t = Instant::now();
            let request = cluster.sign_request(scheme, &wallet, &request, DerivationPath::default(), &[7; 32]).unwrap();
            let signed = cluster.node(number).unwrap().sign(request.clone()).await.unwrap();
            eprintln!("{scheme} {:?}", t.elapsed());
            assert_eq!(signed.public_key, made.certificate.record().key(scheme).unwrap().public_key());
            verify(&signed.public_key, request.message(), request.tweak(), &signed.signature).unwrap();
        }
    }
    cluster.shutdown_all().await;
    let _ = Duration::ZERO;
}
