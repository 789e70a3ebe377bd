//! Somebody who may write to the bucket in which nodes say that they are alive.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::Store;
use quorate::client::{Client, ClientError, KeygenRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::Algorithm;
use quorate::ids::{NodeId, Scheme};
use quorate::testing::NatsServer;
use quorate::wire::native::{Health, NodeStatus, Wallet};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Files};
use crate::until;
use crate::verify::{assert_ecdsa, assert_eddsa, assert_taproot};

const BUCKET: &str = "quorate-tested-leases";
/// What the intruder would like to be true.
const FALSE: &str = r#"{"threshold":1,"committee":["00000000-0000-0000-0000-000000000bad"],"public_key":"00"}"#;
const DIGEST: [u8; 32] = [0x7a; 32];
/// Leases are renewed three times in it.
const LEASES: &str = "[discovery]\nlease_ttl_ms = 1500\n";
/// How often leases are ended: each is renewed in between, so that all hold for some of the time.
const DELETE_EVERY: Duration = Duration::from_millis(1000);
/// How often one is renewed for a node that is dead.
const RENEW_EVERY: Duration = Duration::from_millis(300);
/// The pause between two rounds of garbage.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_others_making__should_change_nothing_but_who_seems_to_be_there() {
    let files = Files::new(Algorithm::Ed25519);
    let mut cluster = Cluster::of_ours(NatsServer::start().await.unwrap(), files, LEASES).await;
    let members: BTreeSet<NodeId> = cluster.files.peers.nodes().iter().map(|(_, id)| *id).collect();
    let context = jetstream::new(async_nats::connect(cluster.server.url()).await.unwrap());
    let store = context.get_key_value(BUCKET).await.unwrap();

    // Strangers, garbage and other people's names, while wallets are made.
    let mut noise = JoinSet::new();
    noise.spawn(make_noise(store.clone(), members.clone()));
    for name in ["noise-1", "noise-2"] {
        made_as_configured(&cluster, name, &members).await;
    }

    noise.shutdown().await;

    // Leases disappear, again and again: nodes look dead. Whether there is a wallet then or not, it is no other.
    noise.spawn(make_noise(store.clone(), BTreeSet::new()));
    noise.spawn(delete_leases(store.clone(), members.clone()));
    let missing = |node: &NodeStatus| node.peers.iter().any(|peer| !peer.leased);
    cluster.until("nodes look dead", missing).await;
    made_as_configured(&cluster, "dead", &members).await;
    // So do the whole bucket's contents, and the bucket.
    context.get_stream(format!("KV_{BUCKET}")).await.unwrap().purge().await.unwrap();
    made_as_configured(&cluster, "purged", &members).await;
    context.delete_key_value(BUCKET).await.unwrap();
    made_as_configured(&cluster, "deleted", &members).await;
    noise.shutdown().await;
    cluster.until_complete().await;

    // A dead node looks alive, and is not taken for it.
    cluster.kill_node(2).await;
    let store = until("the bucket is there", async || context.get_key_value(BUCKET).await.ok()).await;
    let dead = cluster.files.peers.nodes()[2].1;
    noise.spawn(async move {
        loop {
            let _ = store.put(dead.to_string(), FALSE.into()).await;
            tokio::time::sleep(RENEW_EVERY).await;
        }
    });
    let seems = |node: &NodeStatus| {
        let of_dead = node.peers.iter().find(|peer| peer.node_id == dead);
        node.health == Health::Enough && of_dead.is_some_and(|peer| peer.leased && !peer.ready)
    };
    cluster.until("it seems alive", seems).await;
    let request = request(&cluster, "of two");
    until("a wallet is refused for want of the dead node", async || {
        let refused = cluster.client.keygen(&request).await.unwrap_err();
        // That the bucket was deleted may make the other node, too, look dead for a moment, and only now.
        assert!([Code::ClusterNotReady, Code::NotMajority].contains(&refused.code()), "{refused}");
        (refused.code() == Code::ClusterNotReady).then_some(())
    })
    .await;
    assert_eq!(cluster.client.wallet("of-two".parse().unwrap()).await.unwrap_err().code(), Code::KeyNotFound);
    signs(&cluster, &cluster.client.wallet("dead".parse().unwrap()).await.unwrap(), "without one").await;
    noise.shutdown().await;

    cluster.start_node(2).await;
    cluster.until_complete().await;
    cluster.stop().await;
}

fn request(cluster: &Cluster, name: &str) -> KeygenRequest {
    let name = name.replace(' ', "-").parse().unwrap();
    KeygenRequest::builder(name).key_types(&Scheme::ALL).sign_with(&cluster.files.initiator).unwrap()
}

/// Asks for a wallet until it is there. It is that of all members, two of whom must sign, on each of them; and they do.
async fn made_as_configured(cluster: &Cluster, name: &str, members: &BTreeSet<NodeId>) {
    let request = request(cluster, name);
    let wallet = until("a wallet is made", async || match cluster.client.keygen(&request).await {
        Ok(wallet) => Some(wallet),
        Err(ClientError::Refused(failure)) => {
            let passing = [Code::ClusterNotReady, Code::NotMajority, Code::PeerUnavailable, Code::SessionDuplicate];
            assert!(passing.contains(&failure.code), "{failure}");
            None
        }
        Err(error) => panic!("{error}"),
    })
    .await;
    assert_eq!(wallet.keys.len(), Scheme::ALL.len());
    for key in &wallet.keys {
        assert_eq!((key.threshold, key.committee.len()), (2, members.len()), "{key:?}");
        assert_eq!(&key.committee.iter().copied().collect::<BTreeSet<_>>(), members);
    }
    signs(cluster, &wallet, name).await;
}

/// Has each key sign, whoever seems to be there, and verifies that it is the key that does.
pub(crate) async fn signs(cluster: &Cluster, wallet: &Wallet, id: &str) {
    for key in &wallet.keys {
        let public = hex::decode(&key.public_key).unwrap();
        let (scheme, id) = (key.key_type, format!("{id}-{}", key.key_type));
        let request = SignRequest::builder(scheme, wallet.wallet_id.clone(), id.parse().unwrap(), &DIGEST);
        let request = request.sign_with(&cluster.files.initiator).unwrap();
        let signed = signed(&cluster.client, &request).await;
        let signature = hex::decode(&signed.signature).unwrap();
        match scheme {
            Scheme::Ecdsa => {
                let key = bitcoin::secp256k1::PublicKey::from_slice(&public).unwrap();
                assert_ecdsa(&key, &DIGEST, &signature, signed.recovery.unwrap());
            }
            Scheme::Ed25519 => assert_eddsa(&public, &DIGEST, &signature),
            Scheme::Bip340 => assert_taproot(&public, &DIGEST, &signature),
        }
    }
}

async fn signed(client: &Client, request: &SignRequest) -> quorate::wire::native::Signed {
    until("it is signed", async || match client.sign(request).await {
        Ok(signed) => Some(signed),
        Err(ClientError::Refused(failure)) => {
            assert!([Code::NotMajority, Code::PeerUnavailable].contains(&failure.code), "{failure}");
            None
        }
        Err(error) => panic!("{error}"),
    })
    .await
}

/// Writes what nobody should believe, until it is stopped.
async fn make_noise(store: Store, members: BTreeSet<NodeId>) {
    let stranger = uuid::Uuid::from_u128(0xbad).to_string();
    for round in 0_u64.. {
        let strange = ["config".to_owned(), format!("junk.{}", round % 100), stranger.clone()];
        let own = members.iter().map(ToString::to_string);
        let upper = members.iter().map(|member| member.to_string().to_uppercase());
        for key in strange.into_iter().chain(own).chain(upper) {
            // The bucket may be away, or full.
            let _ = store.put(key, if round % 2 == 0 { FALSE.into() } else { vec![0xff; 200].into() }).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends leases, again and again.
async fn delete_leases(store: Store, members: BTreeSet<NodeId>) {
    loop {
        for member in &members {
            let _ = store.delete(member.to_string()).await;
        }
        tokio::time::sleep(DELETE_EVERY).await;
    }
}
