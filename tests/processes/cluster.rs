//! A cluster of processes on a server of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::client::{Client, Options};
use quorate::identity::{Algorithm, Existing, NodeIdentity, PeerList, Protection, RequestKey, RequestKeyFiles};
use quorate::ids::{NodeId, NodeName};
use quorate::testing::NatsServer;
use quorate::wire::native::{Health, NodeStatus};
use tempfile::TempDir;

use crate::node::Node;
use crate::until;

/// The chain code of all clusters here.
pub(crate) const CHAIN_CODE: [u8; 32] = [0x2a; 32];
/// How long the nodes may take to say how they are.
const STATUS: Duration = Duration::from_millis(500);

/// The files of a cluster.
pub(crate) struct Files {
    folder: TempDir,
    pub(crate) peers: PeerList,
    pub(crate) initiator: RequestKey,
}

impl Files {
    /// Identities of three nodes and of an initiator.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let peers = PeerList::generate(3).unwrap();
        peers.save(&folder.path().join("peers.json"), Existing::Keep).unwrap();
        std::fs::create_dir(folder.path().join("identity")).unwrap();
        peers.nodes().iter().for_each(|node| save_identity(folder.path(), node));
        let initiator = RequestKey::generate(algorithm).unwrap();
        let name: NodeName = RequestKeyFiles::DEFAULT_INITIATOR.parse().unwrap();
        let files = RequestKeyFiles::initiator(folder.path(), &name);
        files.save(&initiator, Protection::FileMode, Existing::Keep).unwrap();
        Self { folder, peers, initiator }
    }

    /// Adds nodes, so that there are `count`.
    pub(crate) fn grow(&mut self, count: u8) {
        let (mut nodes, known) = (self.peers.nodes().to_vec(), self.peers.nodes().len());
        nodes.extend(PeerList::generate(count).unwrap().nodes().iter().skip(known).cloned());
        nodes.iter().skip(known).for_each(|node| save_identity(self.path(), node));
        self.peers = PeerList::new(nodes).unwrap();
        self.peers.save(&self.path().join("peers.json"), Existing::Replace).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file that all nodes start with.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Changes what all nodes start with.
    pub(crate) fn edit(&self, name: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.path().join(name)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {text}");
        self.write(name, &text.replace(old, new));
    }

    /// A configuration of ours, with `more` at its end.
    pub(crate) fn configure(&self, url: &str, more: &str) {
        self.write("storage-key", &"5a".repeat(32));
        let (public, algorithm) = (self.initiator.public(), self.initiator.algorithm());
        let algorithm = if algorithm == Algorithm::P256 { "p256" } else { "ed25519" };
        let text = format!(
            "[cluster]\nid = \"tested\"\nthreshold = 2\nchain_code = \"{}\"\n[nats]\nservers = [\"nats://{url}\"]\n\
             [storage]\nkey_file = \"storage-key\"\n[health]\naddress = \"127.0.0.1:0\"\n\
             [policy.initiator]\nalgorithm = \"{algorithm}\"\npublic_key = \"{public}\"\n{more}",
            hex::encode(CHAIN_CODE)
        );
        self.write("quorate.toml", &text);
    }
}

fn save_identity(folder: &Path, (name, id): &(NodeName, NodeId)) {
    let identity = NodeIdentity::generate(name.clone(), *id).unwrap();
    identity.save(&folder.join("identity"), Protection::FileMode, Existing::Keep).unwrap();
}

/// Three nodes, of which two sign, unless it has grown.
pub(crate) struct Cluster {
    pub(crate) server: NatsServer,
    pub(crate) files: Files,
    /// How each node is started, after its name. `{node}` stands for that name.
    args: Vec<String>,
    /// Nodes that are started by another program, with its arguments: it runs what comes after them.
    within: BTreeMap<usize, Vec<String>>,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) client: Client,
}

impl Cluster {
    /// Starts all nodes, and returns when every pair of them can work together.
    pub(crate) async fn start(server: NatsServer, files: Files, id: &str, args: &[&str]) -> Self {
        Self::start_within(server, files, id, args, BTreeMap::new()).await
    }

    /// The same, with some of the nodes started by another program.
    pub(crate) async fn start_within(
        server: NatsServer,
        files: Files,
        id: &str,
        args: &[&str],
        within: BTreeMap<usize, Vec<String>>,
    ) -> Self {
        let options = Options::new([server.url()], "test");
        let client = Client::connect(&options, id.parse().unwrap()).await.unwrap();
        let args = args.iter().map(ToString::to_string).collect();
        let mut cluster = Self { server, files, args, within, nodes: vec![None, None, None], client };
        for number in 0..3 {
            cluster.start_node(number).await;
        }
        cluster.until_complete().await;
        cluster
    }

    /// One that is configured with a file of ours.
    pub(crate) async fn of_ours(server: NatsServer, files: Files, more: &str) -> Self {
        files.configure(&server.url(), more);
        Self::start(server, files, "tested", &["-c", "quorate.toml"]).await
    }

    pub(crate) async fn start_node(&mut self, number: usize) {
        let name = self.files.peers.nodes()[number].0.to_string();
        let more: Vec<String> = self.args.iter().map(|arg| arg.replace("{node}", &name)).collect();
        let mut args = vec!["start", "-n", &name];
        args.extend(more.iter().map(String::as_str));
        let within = self.within.get(&number).into_iter().flatten();
        let program: Vec<&str> = within.map(String::as_str).chain([env!("CARGO_BIN_EXE_quorate")]).collect();
        let node = Node::start_by(self.files.path(), &format!("{name}.log"), &[program, args].concat()).await;
        self.nodes[number] = Some(node);
    }

    /// Adds nodes to the peer book, so that there are `count`. Those that run learn of it when they are started again.
    pub(crate) fn grow(&mut self, count: u8) {
        self.files.grow(count);
        self.nodes.resize_with(usize::from(count), || None);
    }

    pub(crate) async fn kill_node(&mut self, number: usize) {
        self.nodes[number].take().unwrap().kill().await;
    }

    pub(crate) async fn stop_node(&mut self, number: usize) {
        self.nodes[number].take().unwrap().stop().await;
    }

    /// Waits until those nodes that run all see `condition`.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&NodeStatus) -> bool) {
        let running = self.nodes.iter().flatten().count();
        until(what, async || {
            let nodes = self.client.status(STATUS).await.unwrap_or_default();
            (nodes.len() == running && nodes.iter().all(&condition)).then_some(())
        })
        .await;
    }

    pub(crate) async fn until_complete(&self) {
        let complete =
            |node: &NodeStatus| node.health == Health::All && node.peers.iter().all(|peer| peer.ready && peer.paired);
        self.until("all nodes are ready and paired", complete).await;
    }

    /// Stops all nodes in good order.
    pub(crate) async fn stop(mut self) {
        let running: Vec<Node> = self.nodes.iter_mut().filter_map(Option::take).collect();
        futures_util::future::join_all(running.into_iter().map(Node::stop)).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, node) in self.nodes.iter().enumerate() {
                if let Some(node) = node {
                    eprintln!("---- node {number}\n{}", node.log());
                }
            }
        }
    }
}
