//! Reshares: to other committees and back, under load, interrupted at every step, with members away and disks lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::error::Code;
use quorate::ids::{Generation, Scheme};
use quorate::storage::{Batch, Durability, Family, Point};
use quorate::testing::{Cluster, eventually};
use quorate::wallet::{ACTIVE_PREFIX, RESHARING_PREFIX, WalletRecord, certificate_key, share_key};

use crate::stage::{ANY, assert_failure, builder, cluster};

/// Waits until nothing is pending on any running node, everybody concerned knows the latest, and no erased share is left in
/// the files.
async fn until_settled(cluster: &Cluster) {
    eventually("reshares are settled", async || {
        for number in 0..cluster.local().len() {
            if cluster.node(number).is_err() {
                continue;
            }
            let resharing = cluster.resharing(number).await.unwrap();
            let settled = resharing.running.is_empty() && resharing.unsettled.is_empty();
            // What the store holds counts: the actor hears of it a moment later.
            let notes = [(Family::Shares, RESHARING_PREFIX), (Family::Meta, b"reshared\0"), (Family::Meta, b"purge")];
            for (family, prefix) in notes {
                if !settled || !cluster.stored_keys(number, family, prefix).await.unwrap().is_empty() {
                    return false;
                }
            }
        }
        true
    })
    .await
    .unwrap();
}

/// The record of a wallet that all running nodes that hold it agree on. Every member has exactly its shares of it, and
/// nobody else has any.
async fn agreed(cluster: &Cluster, wallet: &str) -> WalletRecord {
    let mut records: Vec<WalletRecord> = Vec::new();
    for node in cluster.local().running() {
        let certificate = node.wallet(wallet.parse().unwrap()).await.unwrap();
        records.extend(certificate.map(|certificate| certificate.record().clone()));
    }
    let record = records.pop().unwrap();
    assert!(records.iter().all(|other| *other == record), "a mixture of generations");
    for number in 0..cluster.local().len() {
        let Ok(node) = cluster.node(number) else { continue };
        let stored: BTreeSet<Vec<u8>> = cluster.stored_keys(number, Family::Shares, &prefix(wallet)).await.unwrap();
        let held = record.keys.iter().filter(|key| key.member(node.id()).is_some());
        let expected = held.map(|key| share_key(&record.wallet, key.group.scheme(), key.generation)).collect();
        assert_eq!(stored, expected, "the shares of node {number}");
    }
    record
}

/// What the storage keys of a wallet's active shares begin with.
fn prefix(wallet: &str) -> Vec<u8> {
    [ACTIVE_PREFIX, wallet.as_bytes(), b"\0"].concat()
}

fn generation(record: &WalletRecord, scheme: Scheme) -> u32 {
    record.key(scheme).unwrap().generation.0
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_be_dealt_to_other_committees_and_sign_with_each_under_the_same_keys() {
    let cluster = builder(3, 4).start().await.unwrap();
    let made = cluster.make_wallet(0, "v", &Scheme::ALL).await.unwrap();
    let keys = |record: &WalletRecord| record.keys.iter().map(|key| key.public_key()).collect::<Vec<_>>();
    let committees: [(usize, u8, &[usize]); 5] = [
        (0, 2, &[0, 1]),
        // Disjoint: the coordinator leaves.
        (1, 2, &[2, 3]),
        (3, 3, &[0, 1, 2, 3]),
        (2, 4, &[0, 1, 2, 3]),
        (0, 2, &[3, 1, 2]),
    ];
    for (round, (coordinator, signers, nodes)) in committees.into_iter().enumerate() {
        let certificate = cluster.reshare(coordinator, "v", &Scheme::ALL, signers, nodes).await.unwrap();
        let record = certificate.record();
        assert_eq!(keys(record), keys(made.record()));
        assert_eq!(record.chain_code, made.record().chain_code);
        for scheme in Scheme::ALL {
            let key = record.key(scheme).unwrap();
            assert_eq!(key.generation, Generation(u32::try_from(round).unwrap() + 1));
            assert_eq!((key.group.threshold().signers(), key.committee.len()), (signers, nodes.len()));
            for &node in nodes {
                cluster.sign(node, scheme, "v").await.unwrap();
            }
        }
        until_settled(&cluster).await;
        assert_eq!(agreed(&cluster, "v").await, *record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key__should_be_reshared_without_the_others_and_they_after_it() {
    let cluster = builder(2, 3).without_pairs().start().await.unwrap();
    let schemes = [Scheme::Ed25519, Scheme::Bip340];
    cluster.make_wallet(0, "v", &schemes).await.unwrap();
    cluster.reshare(1, "v", &[Scheme::Ed25519], 2, &[0, 1]).await.unwrap();
    until_settled(&cluster).await;
    let record = agreed(&cluster, "v").await;
    assert_eq!((generation(&record, Scheme::Ed25519), generation(&record, Scheme::Bip340)), (1, 0));
    cluster.sign(0, Scheme::Ed25519, "v").await.unwrap();
    cluster.sign(2, Scheme::Bip340, "v").await.unwrap();
    // The proof of the first stays good.
    cluster.reshare(2, "v", &[Scheme::Bip340], 2, &[1, 2]).await.unwrap();
    // And both at once, from different committees.
    cluster.reshare(1, "v", &schemes, 3, &[0, 1, 2]).await.unwrap();
    until_settled(&cluster).await;
    let record = agreed(&cluster, "v").await;
    assert_eq!((generation(&record, Scheme::Ed25519), generation(&record, Scheme::Bip340)), (2, 2));
    for scheme in schemes {
        cluster.sign(1, scheme, "v").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn same_request__should_be_done_once_whoever_is_asked() {
    let cluster = cluster(2, 3, |_| ()).await;
    let request = cluster.reshare_request("w", &[ANY], 2, &[0, 1, 2]).unwrap();
    let first = cluster.node(0).unwrap().reshare(request.clone()).await.unwrap();
    assert!(first.fresh);
    cluster.until_known(&first.certificate).await.unwrap();
    for number in 0..3 {
        let again = cluster.node(number).unwrap().reshare(request.clone()).await.unwrap();
        assert_eq!((again.fresh, again.certificate.record()), (false, first.certificate.record()));
    }
    // Nor later, when the wallet has moved on.
    cluster.reshare(1, "w", &[ANY], 2, &[0, 1]).await.unwrap();
    until_settled(&cluster).await;
    let again = cluster.node(2).unwrap().reshare(request).await.unwrap();
    assert_eq!((again.fresh, generation(again.certificate.record(), ANY)), (false, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reshares__should_have_one_winner_and_a_typed_error_for_the_other() {
    let cluster = cluster(2, 3, |_| ()).await;
    for round in 1..=10 {
        let requests = [&[0, 1][..], &[1, 2]].map(|nodes| cluster.reshare_request("w", &[ANY], 2, nodes).unwrap());
        let [first, second] = requests.map(|request| request);
        let clients = [(0, first), (1 + round % 2, second)];
        let [one, two] = clients.map(|(number, request)| cluster.client(number).unwrap().start_reshare(request));
        let results = [one.await.unwrap(), two.await.unwrap()];
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert!(!won.is_empty(), "round {round}: {lost:?}");
        for lost in lost {
            assert_eq!(lost.unwrap_err().code, Code::ReshareInProgress, "round {round}");
        }
        until_settled(&cluster).await;
        agreed(&cluster, "w").await;
        cluster.reshare(1, "w", &[ANY], 2, &[0, 1, 2]).await.unwrap();
        until_settled(&cluster).await;
        cluster.sign(2, ANY, "w").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing__should_go_on_through_reshares() {
    let cluster = cluster(2, 3, |_| ()).await;
    let mut clients = Vec::new();
    for number in 0..3 {
        let client = cluster.client(number).unwrap();
        let requests: Vec<_> = (0..60).map(|_| cluster.sign_request(ANY, "w").unwrap()).collect();
        clients.push(tokio::spawn(async move {
            for request in requests {
                client.sign(request).await.unwrap();
            }
        }));
    }
    let mut reshares = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let request = cluster.reshare_request("w", &[ANY], 2, &[0, 1, 2]).unwrap();
        let reshared = cluster.node(reshares % 3).unwrap().reshare(request).await;
        // Another node may still be at the one before.
        if let Err(failure) = reshared {
            assert_eq!(failure.code, Code::ReshareInProgress, "{failure}");
        }
        reshares += 1;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(reshares > 1);
    until_settled(&cluster).await;
    agreed(&cluster, "w").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_was_away__should_learn_of_the_reshare_and_erase_its_share() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    let certificate = cluster.reshare(0, "w", &[ANY], 2, &[0, 1]).await.unwrap();
    // Those who have to tell it are started anew, too.
    cluster.lose(0).await.unwrap();
    cluster.lose(1).await.unwrap();
    cluster.restart(0).await.unwrap();
    cluster.restart(1).await.unwrap();
    cluster.until_ready().await.unwrap();
    // A second one meanwhile: what it has to learn is the latest.
    let certificate = {
        let again = cluster.reshare(1, "w", &[ANY], 2, &[0, 1]).await.unwrap();
        assert!(again.record().succeeds(certificate.record()));
        again
    };
    let gone = |files: &Path| !holds(files, &share_key(&"w".parse().unwrap(), ANY, Generation(0)));
    let folder = cluster.local().args(2).unwrap().storage.options.folder.clone();
    assert!(!gone(&folder), "it has its old share still");
    cluster.restart(2).await.unwrap();
    cluster.until_known(&certificate).await.unwrap();
    until_settled(&cluster).await;
    assert_eq!(agreed(&cluster, "w").await, *certificate.record());
    for number in 0..3 {
        let folder = cluster.local().args(number).unwrap().storage.options.folder.clone();
        assert!(gone(&folder), "the old share of node {number} is in its files");
    }
    cluster.sign(1, ANY, "w").await.unwrap();
}

/// Whether any file with records, or with the log of writes, holds these bytes. That there was such a name also stands in the
/// list of files, which has no records.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let has_records = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "sst" || kind == "log");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(has_records);
    files.map(|path| fs::read(path).unwrap()).any(|file| file.windows(bytes.len()).any(|window| window == bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_an_empty_disk__should_get_its_share_again_and_sign() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    cluster.lose(1).await.unwrap();
    let wallet = "w".parse().unwrap();
    let empty = Batch::new()
        .delete(Family::Wallets, certificate_key(&wallet))
        .delete(Family::Shares, share_key(&wallet, ANY, Generation(0)));
    cluster.with_store(1, async |store| store.write(empty, Durability::Synced).await).await.unwrap();
    cluster.restart(1).await.unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(cluster.node(1).unwrap().wallet(wallet.clone()).await.unwrap(), None);
    // Whatever the order of the nodes, it is asked to deal by one of the two, and then dealt to.
    for number in [0, 2] {
        let certificate = cluster.reshare(number, "w", &[ANY], 2, &[0, 1, 2]).await.unwrap();
        until_settled(&cluster).await;
        assert_eq!(agreed(&cluster, "w").await, *certificate.record());
    }
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    cluster.sign(1, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn member_in_quarantine__should_neither_deal_nor_prove_and_get_a_share_all_the_same() {
    let cluster = cluster(2, 3, |_| ()).await;
    cluster.quarantine(1, "w").await.unwrap();
    let request = cluster.reshare_request("w", &[ANY], 2, &[0, 1, 2]).unwrap();
    assert_failure(cluster.node(1).unwrap().reshare(request).await, Code::WalletQuarantined, &[]);
    // It is asked to deal or to prove in some of these, and others do.
    for number in [0, 2, 0, 2] {
        let certificate = cluster.reshare(number, "w", &[ANY], 2, &[0, 1, 2]).await.unwrap();
        until_settled(&cluster).await;
        assert_eq!(agreed(&cluster, "w").await, *certificate.record());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reshare__should_be_refused_where_it_cannot_be() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    let request =
        |wallet: &str, signers, nodes: &[usize]| cluster.reshare_request(wallet, &[ANY], signers, nodes).unwrap();
    let node = cluster.node(0).unwrap();
    assert_failure(node.reshare(request("nobody", 2, &[0, 1])).await, Code::KeyNotFound, &[]);
    let taproot = cluster.reshare_request("w", &[Scheme::Bip340], 2, &[0, 1]).unwrap();
    assert_failure(node.reshare(taproot).await, Code::KeyNotFound, &[]);
    let away = request("w", 2, &[0, 1, 2]);
    let two = cluster.id(2).unwrap();
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    assert_failure(cluster.node(0).unwrap().reshare(away).await, Code::ClusterNotReady, &[two]);
}

/// A node dies at the write that makes its part pending, or at the one that puts the reshare in force.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pending,
    InForce,
}

impl Step {
    fn family(self) -> Family {
        match self {
            Self::Pending => Family::Shares,
            // Only the certificate is written there.
            Self::InForce => Family::Wallets,
        }
    }
}

/// Which nodes die, at which step, before or after its write; and whether the reshare takes effect.
type Crash = (&'static str, &'static [usize], Step, Point, bool);

const CRASHES: [Crash; 11] = [
    ("a member has stored nothing", &[1], Step::Pending, Point::BeforeWrite, false),
    ("a member has stored and not signed", &[1], Step::Pending, Point::AfterWrite, true),
    ("a member has not switched", &[1], Step::InForce, Point::BeforeWrite, true),
    ("a member has switched and told nobody", &[1], Step::InForce, Point::AfterWrite, true),
    ("the coordinator has stored nothing", &[0], Step::Pending, Point::BeforeWrite, false),
    ("the coordinator has stored and not signed", &[0], Step::Pending, Point::AfterWrite, true),
    ("the coordinator has proved and not switched", &[0], Step::InForce, Point::BeforeWrite, true),
    ("the coordinator has switched and told nobody", &[0], Step::InForce, Point::AfterWrite, true),
    ("the leaving dealer has stored nothing", &[2], Step::Pending, Point::BeforeWrite, false),
    ("the leaving dealer has stored and not signed", &[2], Step::Pending, Point::AfterWrite, true),
    ("the leaving dealer has not erased its share", &[2], Step::InForce, Point::BeforeWrite, true),
];

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_reshare__should_leave_exactly_one_generation_that_works() {
    // Nodes 0 and 1 get the wallet of 1 and 2 anew; so that 2 deals, and leaves.
    let settings = |settings: &mut quorate::node::Settings| settings.reshare_deadline = Duration::from_secs(30);
    let mut cluster = cluster(2, 3, settings).await;
    for (number, (what, nodes, step, point, takes_effect)) in CRASHES.into_iter().enumerate() {
        let wallet = format!("wallet-{number}");
        cluster.make_wallet(0, &wallet, &[ANY]).await.unwrap();
        cluster.reshare(1, &wallet, &[ANY], 2, &[1, 2]).await.unwrap();
        until_settled(&cluster).await;
        let before = agreed(&cluster, &wallet).await;
        interrupt(&mut cluster, &wallet, nodes, step, point).await;
        for &node in nodes {
            cluster.restart(node).await.unwrap();
        }
        cluster.until_ready().await.unwrap();
        until_settled(&cluster).await;
        let after = agreed(&cluster, &wallet).await;
        assert_eq!(after.succeeds(&before), takes_effect, "{what}");
        assert!(takes_effect || after == before, "{what}");
        let signer = if takes_effect { 0 } else { 1 };
        cluster.sign(signer, ANY, &wallet).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        // And it goes on from there.
        cluster.reshare(1, &wallet, &[ANY], 3, &[0, 1, 2]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        until_settled(&cluster).await;
        agreed(&cluster, &wallet).await;
        let left = cluster.stored_keys(1, Family::Shares, b"orphan\0").await.unwrap();
        assert!(left.is_empty(), "{what}: what was set aside is erased by what follows");
        cluster.sign(2, ANY, &wallet).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reshare__should_survive_the_loss_of_all_nodes_before_any_has_switched() {
    let settings = |settings: &mut quorate::node::Settings| settings.reshare_deadline = Duration::from_secs(30);
    let mut cluster = cluster(2, 3, settings).await;
    let holds: Vec<_> =
        (0..3).map(|node| cluster.hold_write(node, Point::BeforeWrite, Family::Wallets).unwrap()).collect();
    let request = cluster.reshare_request("w", &[ANY], 2, &[0, 1, 2]).unwrap();
    let client = cluster.client(0).unwrap().start_reshare(request);
    let mut holds = holds.into_iter();
    let mut first = holds.next().unwrap();
    // The coordinator is the first to switch: the others are told by it.
    first.reached().await;
    cluster.lose_at(0, first).await.unwrap();
    for (node, hold) in (1..).zip(holds) {
        cluster.lose_at(node, hold).await.unwrap();
    }
    client.await.unwrap().unwrap_err();
    for node in 0..3 {
        cluster.restart(node).await.unwrap();
    }
    cluster.until_ready().await.unwrap();
    until_settled(&cluster).await;
    assert_eq!(generation(&agreed(&cluster, "w").await, ANY), 1, "all have signed, so it can be proved again");
    cluster.sign(1, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unsettled_reshare__should_refuse_another_and_be_rolled_back_when_somebody_never_signed() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    interrupt(&mut cluster, "w", &[2], Step::Pending, Point::BeforeWrite).await;
    cluster.until_unready(2).await.unwrap();
    eventually("the others hold it pending", async || {
        let unsettled = async |node| cluster.resharing(node).await.unwrap().unsettled.len() == 1;
        unsettled(0).await && unsettled(1).await
    })
    .await
    .unwrap();
    // They sign with what they have.
    cluster.sign(1, ANY, "w").await.unwrap();
    let request = cluster.reshare_request("w", &[ANY], 2, &[0, 1]).unwrap();
    let refused = cluster.node(0).unwrap().reshare(request.clone()).await;
    assert_failure(refused, Code::ReshareInProgress, &[]);
    // It survives crashes of those that hold it.
    cluster.lose(1).await.unwrap();
    cluster.restart(1).await.unwrap();
    cluster.until_ready().await.unwrap();
    let refused = cluster.node(1).unwrap().reshare(request.clone()).await;
    assert_failure(refused, Code::ReshareInProgress, &[]);
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    until_settled(&cluster).await;
    assert_eq!(generation(&agreed(&cluster, "w").await, ANY), 0);
    assert!(cluster.node(1).unwrap().reshare(request).await.unwrap().fresh);
}

/// Has node 0 reshare a wallet to nodes 0 and 1, dealt by 2 and another, and loses `nodes` at that step.
async fn interrupt(cluster: &mut Cluster, wallet: &str, nodes: &[usize], step: Step, point: Point) {
    let mut holds = Vec::new();
    for &node in nodes {
        holds.push((node, cluster.hold_write(node, point, step.family()).unwrap()));
    }
    let request = cluster.reshare_request(wallet, &[ANY], 2, &[0, 1]).unwrap();
    let to_all = cluster.reshare_request(wallet, &[ANY], 2, &[0, 1, 2]).unwrap();
    let request = if wallet == "w" { to_all } else { request };
    let client = cluster.client(0).unwrap().start_reshare(request);
    for (_, hold) in &mut holds {
        hold.reached().await;
    }
    for (node, hold) in holds {
        cluster.lose_at(node, hold).await.unwrap();
    }
    // The client is told something, and what it is told as a success holds.
    if let Ok(reshared) = client.await.unwrap() {
        assert!(reshared.fresh);
    }
}
