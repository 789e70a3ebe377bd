//! A whole cluster, its links and its leases over one server.

use std::path::Path;
use std::sync::Arc;

use quorate::ids::{ClusterId, Scheme, Threshold, WalletId};
use quorate::keys::DerivationPath;
use quorate::local_cluster::{LocalCluster, setup_limit};
use quorate::node::Settings;
use quorate::protocol::verify::verify;
use quorate::registry::{KvDiscovery, KvOptions};
use quorate::testing::NatsServer;
use quorate::transport::nats::NatsBroker;

use crate::{connect, soon};

/// Three nodes, of which any two sign, each with a connection of its own to the server.
async fn start(server: &NatsServer, folder: &Path) -> LocalCluster {
    let settings = Settings::new("test".parse::<ClusterId>().unwrap(), Threshold::new(2, 3).unwrap());
    let mut cluster = LocalCluster::prepare(folder, &settings, |policy| policy).unwrap();
    for number in 0..cluster.len() {
        let args = cluster.args_mut(number).unwrap();
        let connection = connect(server).await;
        let leases = KvOptions::new(&settings.cluster, settings.lease_ttl, args.peers.ids());
        args.discovery = Arc::new(KvDiscovery::new(connection.clone(), leases));
        args.broker = Arc::new(NatsBroker::new(connection).await.unwrap());
    }
    cluster.start_all().await.unwrap();
    tokio::time::timeout(setup_limit(3), cluster.until_complete()).await.unwrap().unwrap();
    cluster
}

async fn sign_with_every_scheme(cluster: &LocalCluster, wallet: &WalletId, round: &str) {
    for scheme in Scheme::ALL {
        for number in 0..cluster.len() {
            let request = format!("{scheme}-{number}-{round}").parse().unwrap();
            let path = DerivationPath::default();
            let request = cluster.sign_request(scheme, wallet, &request, path, &[7; 32]).unwrap();
            let signed = cluster.node(number).unwrap().sign(request.clone()).await.unwrap();
            verify(&signed.public_key, request.message(), request.tweak(), &signed.signature).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster__should_sign_over_nats_and_again_after_the_server_died() {
    let mut server = NatsServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start(&server, folder.path()).await;
    let wallet: WalletId = "treasury".parse().unwrap();
    let request = cluster.keygen_request(&wallet, &Scheme::ALL).unwrap();
    cluster.node(0).unwrap().keygen(request).await.unwrap();
    sign_with_every_scheme(&cluster, &wallet, "before").await;

    server.kill();
    soon(cluster.until(|view| !view.able && view.peers.values().all(|peer| !peer.linked))).await.unwrap();
    let request = "in between".parse().unwrap();
    let request = cluster.sign_request(Scheme::Ed25519, &wallet, &request, DerivationPath::default(), b"now").unwrap();
    assert!(cluster.node(0).unwrap().sign(request).await.is_err(), "there is nobody to sign with");

    server.restart(false).await.unwrap();
    tokio::time::timeout(setup_limit(3), cluster.until_complete()).await.unwrap().unwrap();
    sign_with_every_scheme(&cluster, &wallet, "after").await;

    // A node that dies is missed at once, also where the broker is a real one.
    cluster.kill(2).await;
    let gone = cluster.args(2).unwrap().identity.id();
    soon(cluster.until(|view| !view.peers[&gone].linked)).await.unwrap();
    let request = "of two".parse().unwrap();
    let request = cluster.sign_request(Scheme::Ecdsa, &wallet, &request, DerivationPath::default(), &[8; 32]).unwrap();
    cluster.node(1).unwrap().sign(request).await.unwrap();
    cluster.shutdown_all().await;
}
