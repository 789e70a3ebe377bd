//! The drill of an operator: a wallet goes through the loss of disks, with a backup and without, and on to other nodes,
//! while it keeps its keys.

use std::collections::BTreeSet;
use std::path::PathBuf;

use quorate::backup::generated_keys;
use quorate::client::KeygenRequest;
use quorate::identity::Algorithm;
use quorate::ids::{NodeId, Scheme};
use quorate::testing::NatsServer;
use quorate::wire::native::{NodeStatus, Wallet};

use crate::backup::{done, status};
use crate::cluster::{Cluster, Files};
use crate::tampering::signs;
use crate::until;

const WALLET: &str = "treasury";
/// How often every key signs after a step: each time another node may take the request, and others may sign.
const SIGNATURES: usize = 3;
/// The node whose disk is lost.
const LOST: usize = 2;

struct Drill {
    cluster: Cluster,
    /// The wallet as it was made.
    wallet: Wallet,
}

impl Drill {
    fn name(&self, number: usize) -> String {
        self.cluster.files.peers.nodes()[number].0.to_string()
    }

    fn ids(&self, numbers: &[usize]) -> BTreeSet<NodeId> {
        numbers.iter().map(|&number| self.cluster.files.peers.nodes()[number].1).collect()
    }

    /// A command about a node, as its operator types it.
    async fn on_node(&self, number: usize, words: &[&str]) -> String {
        let name = self.name(number);
        done(self.cluster.files.path(), &[words, &["-c", "quorate.toml", "-n", &name]].concat()).await
    }

    /// A command of a client.
    async fn as_client(&self, words: &[&str]) -> String {
        let server = format!("nats://{}", self.cluster.server.url());
        let cluster = ["--cluster", "tested", "--nats", &server];
        done(self.cluster.files.path(), &[&["client"], words, &cluster].concat()).await
    }

    /// The disk of a node is gone.
    async fn lose_disk(&mut self, number: usize) {
        self.cluster.kill_node(number).await;
        std::fs::remove_dir_all(self.disk(number)).unwrap();
    }

    fn disk(&self, number: usize) -> PathBuf {
        self.cluster.files.path().join("data").join(self.name(number))
    }

    /// Every key signs, and the wallet receives where it has always received.
    async fn works(&self, step: &str) -> Wallet {
        for round in 0..SIGNATURES {
            signs(&self.cluster, &self.wallet, &format!("{step}-{round}")).await;
        }
        let wallet = self.cluster.client.wallet(WALLET.parse().unwrap()).await.unwrap();
        let receives = |wallet: &Wallet| -> Vec<_> {
            wallet.keys.iter().map(|key| (key.key_type, key.public_key.clone(), key.addresses.clone())).collect()
        };
        assert_eq!(receives(&wallet), receives(&self.wallet), "{step}: keys and addresses are the same");
        wallet
    }

    /// It works, and all of these nodes hold it, each with a share that signs.
    async fn is_held_by(&self, step: &str, members: &[usize], signers: u8, generation: u32) {
        let wallet = self.works(step).await;
        for key in &wallet.keys {
            let committee: BTreeSet<NodeId> = key.committee.iter().copied().collect();
            let found = (committee, key.threshold, key.generation);
            assert_eq!(found, (self.ids(members), signers, generation), "{step}: {key:?}");
        }
        let checked = self.as_client(&["checkup", WALLET]).await;
        println!("{step}: signed, and checked:\n{checked}");
    }

    async fn reshare(&self, to: &[usize], signers: u8) {
        let names: Vec<String> = to.iter().map(|&number| self.name(number)).collect();
        let (nodes, threshold) = (names.join(","), signers.to_string());
        self.as_client(&["reshare", WALLET, "--nodes", &nodes, "--threshold", &threshold]).await;
    }

    /// Adds nodes to the peer book. Those that run are started again with it, one after the other, and sign meanwhile.
    async fn grow(&mut self, nodes: u8, threshold: u8) {
        let running = self.cluster.nodes.len();
        self.cluster.grow(nodes);
        self.cluster.files.edit("quorate.toml", "threshold = 2", &format!("threshold = {threshold}"));
        for number in 0..running {
            self.cluster.stop_node(number).await;
            self.works(&format!("without node {number}")).await;
            self.cluster.start_node(number).await;
            let back = |node: &NodeStatus| node.peers.iter().filter(|peer| peer.ready).count() == running - 1;
            self.cluster.until("it is back, and knows the new nodes", back).await;
        }
        for number in running..usize::from(nodes) {
            self.cluster.start_node(number).await;
        }
        self.cluster.until_complete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_keep_its_keys_through_lost_disks_and_on_other_nodes() {
    let (recipient, private) = generated_keys();
    let files = Files::new(Algorithm::Ed25519);
    files.write("backup-key", std::str::from_utf8(private.expose()).unwrap());
    std::fs::create_dir(files.path().join("backups")).unwrap();
    let backups = format!("[backup]\nrecipients = [\"{recipient}\"]\n");
    let cluster = Cluster::of_ours(NatsServer::start().await.unwrap(), files, &backups).await;
    let request = KeygenRequest::builder(WALLET.parse().unwrap()).key_types(&Scheme::ALL);
    let wallet = cluster.client.keygen(&request.sign_with(&cluster.files.initiator).unwrap()).await.unwrap();
    assert!(wallet.keys.len() == Scheme::ALL.len() && wallet.keys.iter().all(|key| !key.addresses.is_empty()));
    let mut drill = Drill { cluster, wallet };
    drill.is_held_by("made", &[0, 1, 2], 2, 0).await;

    drill.on_node(LOST, &["backup", "create"]).await;
    drill.lose_disk(LOST).await;
    drill.works("without a disk").await;
    drill.on_node(LOST, &["backup", "restore", "--identity", "backup-key"]).await;
    drill.cluster.start_node(LOST).await;
    drill.cluster.until_complete().await;
    let (folder, name) = (drill.cluster.files.path(), drill.name(LOST));
    until("the restored wallet is confirmed", async || {
        status(folder, &name).await["quarantined"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    drill.is_held_by("restored", &[0, 1, 2], 2, 0).await;

    drill.lose_disk(LOST).await;
    drill.cluster.start_node(LOST).await;
    drill.cluster.until_complete().await;
    drill.works("with an empty disk").await;
    drill.as_client(&["repair", WALLET]).await;
    drill.is_held_by("repaired", &[0, 1, 2], 2, 1).await;

    drill.grow(8, 5).await;
    drill.is_held_by("among eight", &[0, 1, 2], 2, 1).await;

    drill.reshare(&[0, 2, 3, 4, 5], 3).await;
    drill.is_held_by("three of five", &[0, 2, 3, 4, 5], 3, 2).await;

    drill.reshare(&[1, 6, 7], 2).await;
    drill.is_held_by("two of three others", &[1, 6, 7], 2, 3).await;
    for former in [0, 2, 3, 4, 5] {
        drill.cluster.stop_node(former).await;
    }
    drill.works("without all former members").await;
    drill.cluster.stop().await;
}
