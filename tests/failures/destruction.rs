//! The end of wallets: on all nodes, those that were away included, and for ever.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use quorate::checkup::CheckupMsg;
use quorate::destruction::{Destroyed, DestructionMsg};
use quorate::error::{Code, Failure};
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::{NodeId, Scheme, WalletId};
use quorate::storage::{Family, Point};
use quorate::testing::{Cluster, ClusterBuilder, HarnessError, PATIENCE, eventually};
use quorate::wallet::{DestructionCertificate, certificate_key, tombstone_key};
use quorate::wire::request::{AuthorizerId, DestroyRequest};

use crate::stage::{ANY, builder};

fn auditor() -> AuthorizerId {
    AuthorizerId::try_from("auditor".to_owned()).unwrap()
}

/// A 2-of-3 cluster in which the auditor may have wallets destroyed; with its key.
fn allowing() -> (ClusterBuilder, RequestKey) {
    let key = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let authorizers = BTreeMap::from([(auditor(), key.public())]);
    let builder = builder(2, 3).without_pairs().policy(move |policy| {
        let policy = policy.with_authorizers(authorizers, [].into()).unwrap();
        policy.allow_destruction(1.try_into().unwrap())
    });
    (builder, key)
}

async fn request(cluster: &Cluster, wallet: &str, auditor_key: Option<&RequestKey>) -> DestroyRequest {
    let wallet: WalletId = wallet.parse().unwrap();
    let mut keys = Vec::new();
    for node in cluster.local().running() {
        if let Ok(Some(certificate)) = node.wallet(wallet.clone()).await {
            keys = certificate.record().keys.iter().map(|key| key.public_key()).collect();
        }
    }
    let builder = DestroyRequest::builder(wallet, &keys);
    let builder = match auditor_key {
        Some(key) => builder.approved_by(auditor(), key),
        None => builder,
    };
    builder.sign_with(cluster.local().initiator()).unwrap()
}

async fn destroy(cluster: &Cluster, number: usize, request: &DestroyRequest) -> Result<Destroyed, Failure> {
    let (address, request) = (cluster.addresses(number).unwrap().destruction.clone(), request.clone());
    address.call(PATIENCE, |reply| DestructionMsg::Destroy { request, reply }).await.unwrap()
}

async fn certificate(cluster: &Cluster, number: usize, wallet: &str) -> Option<Arc<DestructionCertificate>> {
    let (address, wallet) = (cluster.addresses(number).unwrap().destruction.clone(), wallet.parse().unwrap());
    address.call(PATIENCE, |reply| DestructionMsg::Certificate { wallet, reply }).await.unwrap().unwrap()
}

fn all(cluster: &Cluster) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = (0..3).map(|number| cluster.id(number).unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// Waits until no running node has anything left to tell, and all have the same complete certificate.
async fn until_settled(cluster: &Cluster, wallet: &str) {
    eventually("everybody knows all of it", async || {
        for number in 0..3 {
            let Ok(addresses) = cluster.addresses(number) else { continue };
            let Ok(snapshot) = addresses.destruction.call(PATIENCE, DestructionMsg::Snapshot).await else {
                return false;
            };
            let complete =
                certificate(cluster, number, wallet).await.is_some_and(|certificate| certificate.is_complete());
            if !snapshot.open.is_empty() || !complete {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
}

/// Checks that a running node holds nothing of a wallet but the certificate of its destruction, and purges its files.
async fn assert_gone(cluster: &Cluster, number: usize, wallet: &str) {
    let id = wallet.parse().unwrap();
    for prefix in [&b"active\0"[..], b"pending\0", b"reshare\0", b"orphan\0"] {
        let prefix = [prefix, wallet.as_bytes()].concat();
        let stored = cluster.stored_keys(number, Family::Shares, &prefix).await.unwrap();
        assert!(stored.is_empty(), "node {number} holds {stored:?}");
    }
    assert!(cluster.stored_keys(number, Family::Wallets, &certificate_key(&id)).await.unwrap().is_empty());
    assert_eq!(cluster.stored_keys(number, Family::Wallets, &tombstone_key(&id)).await.unwrap().len(), 1);
    eventually("the files are purged", async || {
        cluster.stored_keys(number, Family::Meta, b"purge").await.unwrap().is_empty()
    })
    .await
    .unwrap();
}

fn code<T>(result: Result<T, HarnessError>) -> Option<Code> {
    match result {
        Err(HarnessError::Failure(failure)) => Some(failure.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_be_destroyed_everywhere_with_a_certificate_and_stay_so() {
    let (builder, key) = allowing();
    let cluster = builder.start().await.unwrap();
    let schemes = [Scheme::Ed25519, Scheme::Bip340];
    cluster.make_wallet(0, "w", &schemes).await.unwrap();
    cluster.make_wallet(0, "other", &[ANY]).await.unwrap();
    cluster.reshare(1, "w", &[ANY], 2, &[0, 1, 2]).await.unwrap();
    let request = request(&cluster, "w", Some(&key)).await;
    let destroyed = destroy(&cluster, 1, &request).await.unwrap();
    assert!(destroyed.certificate.is_complete());
    // It says everything to whoever has the nodes' public keys.
    let encoded = destroyed.certificate.encode().unwrap();
    let peers = &cluster.local().args(0).unwrap().peers;
    let read = DestructionCertificate::decode(&encoded, peers).unwrap();
    assert_eq!(read.statements().map(|statement| statement.node).collect::<Vec<_>>(), all(&cluster));
    let erased = read.statements().map(|statement| statement.erased.iter().map(|(_, g)| g.0).sum::<u32>());
    assert_eq!(erased.collect::<Vec<_>>(), [1, 1, 1], "both keys, one of them of generation 1");
    until_settled(&cluster, "w").await;
    for number in 0..3 {
        assert_gone(&cluster, number, "w").await;
        let gone = Some(Code::WalletDestroyed);
        assert_eq!(code(cluster.sign(number, ANY, "w").await), gone);
        assert_eq!(code(cluster.reshare(number, "w", &[ANY], 2, &[0, 1, 2]).await), gone);
        assert_eq!(code(cluster.make_wallet(number, "w", &[ANY]).await), gone, "the id stays taken");
        let wallet = "w".parse().unwrap();
        let checkup = &cluster.addresses(number).unwrap().checkup;
        let checked = checkup.call(PATIENCE, |reply| CheckupMsg::Check { wallet, reply }).await.unwrap();
        assert_eq!(checked.unwrap_err().code, Code::WalletDestroyed);
        // The same request again has the same answer.
        assert!(destroy(&cluster, number, &request).await.unwrap().certificate.is_complete());
        cluster.sign(number, ANY, "other").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_not_be_destroyed_by_default_nor_without_approval() {
    let cluster = builder(2, 3).without_pairs().start().await.unwrap();
    cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
    let unwanted = request(&cluster, "w", None).await;
    assert_eq!(destroy(&cluster, 0, &unwanted).await.unwrap_err().code, Code::DestructionNotAllowed);
    let (builder, key) = allowing();
    let cluster = builder.start().await.unwrap();
    cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
    cluster.make_wallet(0, "v", &[ANY]).await.unwrap();
    let unapproved = request(&cluster, "w", None).await;
    assert_eq!(destroy(&cluster, 0, &unapproved).await.unwrap_err().code, Code::MissingAuthorizerSignature);
    let stranger = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let forged = request(&cluster, "w", Some(&stranger)).await;
    assert_eq!(destroy(&cluster, 0, &forged).await.unwrap_err().code, Code::InvalidAuthorizerSignature);
    // Approved for other keys, and for a wallet that is not there.
    let keys = request(&cluster, "v", Some(&key)).await.public_keys().to_vec();
    let initiator = cluster.local().initiator();
    let other = |wallet: &str| {
        let request = DestroyRequest::builder(wallet.parse().unwrap(), &keys).approved_by(auditor(), &key);
        request.sign_with(initiator).unwrap()
    };
    assert_eq!(destroy(&cluster, 0, &other("w")).await.unwrap_err().code, Code::MsgValidation);
    assert_eq!(destroy(&cluster, 0, &other("x")).await.unwrap_err().code, Code::KeyNotFound);
    for number in 0..3 {
        cluster.sign(number, ANY, "w").await.unwrap();
        assert!(certificate(&cluster, number, "w").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_was_away__should_destroy_when_it_is_back_and_complete_the_certificate() {
    let (builder, key) = allowing();
    let mut cluster =
        builder.settings(|s| s.reshare_deadline = std::time::Duration::from_secs(2)).start().await.unwrap();
    cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
    let request = request(&cluster, "w", Some(&key)).await;
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    let destroyed = destroy(&cluster, 0, &request).await.unwrap();
    let away = cluster.id(2).unwrap();
    assert_eq!(destroyed.certificate.missing(), [away].into());
    assert_eq!(code(cluster.sign(1, ANY, "w").await), Some(Code::WalletDestroyed));
    // Those who have to tell it are started anew, too.
    for number in 0..2 {
        cluster.lose(number).await.unwrap();
        cluster.restart(number).await.unwrap();
    }
    cluster.restart(2).await.unwrap();
    until_settled(&cluster, "w").await;
    for number in 0..3 {
        assert_gone(&cluster, number, "w").await;
    }
    assert_eq!(certificate(&cluster, 2, "w").await.unwrap().stated().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_destruction__should_be_carried_out_whichever_write_the_node_dies_at() {
    for point in [Point::BeforeWrite, Point::AfterWrite] {
        let (builder, key) = allowing();
        let mut cluster = builder.start().await.unwrap();
        cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
        let request = request(&cluster, "w", Some(&key)).await;
        let mut hold = cluster.hold_write(1, point, Family::Wallets).unwrap();
        let address = cluster.addresses(0).unwrap().destruction.clone();
        let asked = request.clone();
        let client = tokio::spawn(async move {
            address.call(PATIENCE, |reply| DestructionMsg::Destroy { request: asked, reply }).await
        });
        hold.reached().await;
        cluster.lose_at(1, hold).await.unwrap();
        cluster.restart(1).await.unwrap();
        until_settled(&cluster, "w").await;
        assert!(client.await.unwrap().unwrap().unwrap().certificate.is_complete());
        for number in 0..3 {
            assert_gone(&cluster, number, "w").await;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_out_of_an_old_copy__should_learn_from_its_peers_that_a_wallet_was_destroyed() {
    let (builder, key) = allowing();
    let mut cluster = builder.start().await.unwrap();
    cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
    let request = request(&cluster, "w", Some(&key)).await;
    let folder = cluster.local().args(2).unwrap().storage.options.folder.clone();
    let old = tempfile::tempdir().unwrap();
    // Closed in good order: what is copied is whole.
    cluster.shutdown(2).await;
    copy(&folder, old.path());
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    destroy(&cluster, 0, &request).await.unwrap();
    until_settled(&cluster, "w").await;
    cluster.shutdown(2).await;
    fs::remove_dir_all(&folder).unwrap();
    copy(old.path(), &folder);
    cluster.restart(2).await.unwrap();
    eventually("it knows", async || certificate(&cluster, 2, "w").await.is_some()).await.unwrap();
    until_settled(&cluster, "w").await;
    assert_gone(&cluster, 2, "w").await;
}
