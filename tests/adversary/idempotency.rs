//! One request, one signature: however often it is asked for, at however many nodes at once.

use futures_util::future::join_all;
use quorate::error::Code;
use quorate::ids::{Scheme, Threshold};
use quorate::keys::DerivationPath;
use quorate::local_cluster::LocalCluster;
use quorate::node::Settings;
use quorate::testing::{PATIENCE, PlantedWallet};
use quorate::wire::message::SessionBody;
use quorate::wire::request::SignRequest;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::stage::{Stage, check, log, wallet_id};

/// Honest nodes only, with a wallet that `t` of them sign with.
async fn cluster(t: u8, n: u8) -> (LocalCluster, TempDir) {
    log();
    let folder = tempfile::tempdir().unwrap();
    let threshold = Threshold::new(t, n).unwrap();
    let settings = Settings::new("twice".parse().unwrap(), threshold);
    let mut cluster = LocalCluster::prepare(folder.path(), &settings, |policy| policy).unwrap();
    PlantedWallet::in_cluster(&cluster, &wallet_id("w"), threshold, &[Scheme::Ed25519]).await;
    cluster.start_all().await.unwrap();
    timeout(PATIENCE, cluster.until(|view| view.is_complete(Scheme::Ed25519))).await.unwrap().unwrap();
    (cluster, folder)
}

fn request(cluster: &LocalCluster, id: &str, message: &[u8]) -> SignRequest {
    let (wallet, id) = (wallet_id("w"), id.parse().unwrap());
    cluster.sign_request(Scheme::Ed25519, &wallet, &id, DerivationPath::default(), message).unwrap()
}

/// Asks the listed nodes at once, and claims that all answers are one signature.
async fn race(cluster: &LocalCluster, id: &str, nodes: &[usize]) {
    let request = request(cluster, id, b"once");
    let answers = join_all(nodes.iter().map(|&number| cluster.node(number).unwrap().sign(request.clone()))).await;
    let signatures: Vec<_> = answers.iter().map(|answer| check(answer, &request)).collect();
    assert!(signatures.iter().all(|signature| *signature == signatures[0]), "{id} at {nodes:?}: {signatures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn request__should_get_one_signature_when_it_is_raced() {
    let (mut cluster, _folder) = cluster(2, 3).await;
    for turn in 0..20 {
        for (race_number, nodes) in
            [&[0, 0][..], &[0, 1], &[1, 2], &[2, 0], &[0, 1, 2], &[2, 1, 0, 0, 1, 2]].iter().enumerate()
        {
            race(&cluster, &format!("race-{turn}-{race_number}"), nodes).await;
        }
    }
    cluster.shutdown_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request__should_get_one_signature_when_many_must_sign() {
    let (mut cluster, _folder) = cluster(3, 4).await;
    for turn in 0..10 {
        for (race_number, nodes) in [&[0, 1][..], &[3, 2], &[0, 1, 2, 3]].iter().enumerate() {
            race(&cluster, &format!("race-{turn}-{race_number}"), nodes).await;
        }
    }
    cluster.shutdown_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer__should_be_found_again_everywhere_and_after_a_crash() {
    let (mut cluster, _folder) = cluster(2, 3).await;
    let first = request(&cluster, "stored", b"once");
    let signed = cluster.node(0).unwrap().sign(first.clone()).await;
    let signature = check(&signed, &first);
    assert!(signed.unwrap().session.is_some());
    for number in 0..3 {
        let again = cluster.node(number).unwrap().sign(first.clone()).await;
        assert_eq!(check(&again, &first), signature, "node {number}");
    }
    cluster.kill(0).await;
    cluster.start(0).await.unwrap();
    let again = cluster.node(0).unwrap().sign(first.clone()).await;
    assert_eq!(check(&again, &first), signature);
    assert_eq!(again.unwrap().session, None, "it is the stored one");
    let other = request(&cluster, "stored", b"something else");
    for number in 0..3 {
        let failure = cluster.node(number).unwrap().sign(other.clone()).await.unwrap_err();
        assert_eq!(failure.code, Code::RequestConflict, "node {number}");
    }
    cluster.shutdown_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contents__should_not_both_be_signed_under_one_id() {
    let (mut cluster, _folder) = cluster(2, 3).await;
    for turn in 0..20 {
        let id = format!("two-{turn}");
        let requests = [request(&cluster, &id, b"one"), request(&cluster, &id, b"two")];
        let (a, b) = (turn % 3, (turn + 1) % 3);
        let (one, two) = tokio::join!(
            cluster.node(a).unwrap().sign(requests[0].clone()),
            cluster.node(b).unwrap().sign(requests[1].clone()),
        );
        match (&one, &two) {
            (Ok(_), Ok(_)) => panic!("{id}: both were signed"),
            (Ok(_), Err(failure)) | (Err(failure), Ok(_)) => assert_eq!(failure.code, Code::RequestConflict, "{id}"),
            (Err(one), Err(two)) => assert_eq!([one.code, two.code], [Code::RequestConflict; 2], "{id}"),
        }
    }
    cluster.shutdown_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request__should_be_retried_at_once_when_it_failed() {
    let mut stage = Stage::new().await;
    let asked = stage.ask_until_liar_is_chosen().await;
    let refusal = SessionBody::Refuse { code: Code::StorageRead, answer: None };
    stage.tell_victim(asked.session, refusal);
    let failure = asked.answer.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.culprits), (Code::StorageRead, [stage.liar.id()].into()));
    stage.liar_serves(false).await;
    let signed = stage.honest(0).sign(asked.request.clone()).await;
    let signature = check(&signed, &asked.request);
    assert_eq!(check(&stage.honest(1).sign(asked.request.clone()).await, &asked.request), signature);
    stage.nothing_is_left().await;
}
