//! Force: nodes that are killed, frozen, stopped, slowed down, cut off, or out of disk, while clients go on asking.
//!
//! `CHAOS_ROUNDS=n` (`make chaos`) does it all n times, to every node in turn; without, one round is done to one node
//! each. The times at which losses were noticed are printed.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate::client::{Client, ClientError, KeygenRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Files};
use crate::proxy::{Passage, Proxy};
use crate::verify::{assert_ecdsa, assert_eddsa};
use crate::{LOOK_AGAIN, soon, until};

/// What is signed.
pub(crate) const DIGEST: [u8; 32] = [0xc0; 32];
/// How many clients ask at a time.
const CLIENTS: usize = 4;
/// How many signatures a cluster makes with a node less before it counts as serving.
const ENOUGH: u64 = 8;
/// How long a client waits for an answer before it asks again.
const ANSWER: Duration = Duration::from_secs(5);
/// Heartbeats tell of a silent peer after 3.5 s. The rest is for a machine that has other things to do.
const SILENT: Duration = Duration::from_secs(10);
/// A peer that is gone is told by the broker: at the next message for it, and there is a heartbeat each second.
const GONE: Duration = Duration::from_secs(5);

/// How many rounds are to be done, if the environment says.
pub(crate) fn rounds() -> Option<usize> {
    std::env::var("CHAOS_ROUNDS").ok().map(|rounds| rounds.parse().unwrap())
}

/// What is done to which nodes: each of three things to one node each, or everything to all of them.
fn acts<T: Copy>(things: &[T]) -> Vec<(T, usize)> {
    match rounds() {
        None => things.iter().enumerate().map(|(at, &thing)| (thing, at % 3)).collect(),
        Some(rounds) => {
            let once = || things.iter().flat_map(|&thing| (0..3).map(move |node| (thing, node)));
            (0..rounds).flat_map(|_| once()).collect()
        }
    }
}

/// Clients that ask for signatures all the time, each for one after the other. A request that fails in a way that may
/// pass is asked again, the same one, until it succeeds; any other failure is the test's.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<Vec<Signed>>,
}

/// What a client got.
struct Signed {
    request: SignRequest,
    signature: String,
}

impl Load {
    fn start(cluster: &Cluster, wallet: &Wallet, name: &str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (stop, done, wallet) = (Arc::clone(&stop), Arc::clone(&done), wallet.clone());
            // A node that is frozen keeps what it was given.
            let client = cluster.client.clone().with_limit(ANSWER);
            let text = cluster.files.initiator.to_text().unwrap();
            let initiator = RequestKey::parse(Algorithm::Ed25519, &text).unwrap();
            let name = name.to_owned();
            clients.spawn(async move {
                let mut signed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let scheme = if signed.len() % 2 == 0 { Scheme::Ecdsa } else { Scheme::Ed25519 };
                    let id = format!("{name}-{number}-{}", signed.len()).parse().unwrap();
                    let request = SignRequest::builder(scheme, "w".parse().unwrap(), id, &DIGEST);
                    let request = request.sign_with(&initiator).unwrap();
                    let signature = sign(&client, &wallet, &request).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    signed.push(Signed { request, signature });
                }
                signed
            });
        }
        Self { stop, done, clients }
    }

    /// Waits until so many more have been signed.
    async fn goes_on(&self, what: &str) {
        let goal = self.done.load(Ordering::Relaxed) + ENOUGH;
        until(what, async || (self.done.load(Ordering::Relaxed) >= goal).then_some(())).await;
    }

    /// Ends the load, and says how many requests were signed. Each has one signature, whoever is asked for it again.
    async fn end(mut self, cluster: &Cluster, wallet: &Wallet) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut requests = 0;
        while let Some(signed) = soon("a client ends", self.clients.join_next()).await {
            for Signed { request, signature } in signed.unwrap() {
                let now = sign(&cluster.client, wallet, &request).await;
                assert_eq!(now, signature, "{} has two signatures", request.request_id());
                requests += 1;
            }
        }
        requests
    }
}

#[derive(Clone)]
pub(crate) struct Wallet {
    ecdsa: Option<bitcoin::secp256k1::PublicKey>,
    eddsa: Vec<u8>,
}

impl Wallet {
    /// Makes the wallet `w`.
    pub(crate) async fn make(cluster: &Cluster) -> Self {
        let request = KeygenRequest::builder("w".parse().unwrap()).sign_with(&cluster.files.initiator).unwrap();
        let wallet = cluster.client.keygen(&request).await.unwrap();
        let key = |scheme| {
            let key = wallet.keys.iter().find(|key| key.key_type == scheme).unwrap();
            hex::decode(&key.public_key).unwrap()
        };
        let ecdsa = bitcoin::secp256k1::PublicKey::from_slice(&key(Scheme::Ecdsa)).unwrap();
        Self { ecdsa: Some(ecdsa), eddsa: key(Scheme::Ed25519) }
    }

    /// A wallet with an Ed25519 key.
    pub(crate) const fn of_eddsa(eddsa: Vec<u8>) -> Self {
        Self { ecdsa: None, eddsa }
    }
}

/// Asks until there is a signature, and verifies it.
pub(crate) async fn sign(client: &Client, wallet: &Wallet, request: &SignRequest) -> String {
    let asking = async {
        loop {
            if let Some(signature) = ask(client, wallet, request).await {
                return signature;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    soon("a request is signed", asking).await
}

/// Asks once. Nothing, where asking again may help.
pub(crate) async fn ask(client: &Client, wallet: &Wallet, request: &SignRequest) -> Option<String> {
    match client.sign(request).await {
        Ok(signed) => {
            let signature = hex::decode(&signed.signature).unwrap();
            match request.scheme() {
                Scheme::Ecdsa => {
                    assert_ecdsa(&wallet.ecdsa.unwrap(), &DIGEST, &signature, signed.recovery.unwrap());
                }
                Scheme::Ed25519 | Scheme::Bip340 => assert_eddsa(&wallet.eddsa, &DIGEST, &signature),
            }
            Some(signed.signature)
        }
        Err(ClientError::Refused(failure)) => {
            // What a client is told where a node is lost or lost its disk. All of it may pass.
            let may_pass = failure.code.is_retryable() || failure.code == Code::StorageWrite;
            assert!(may_pass, "{}: {failure}", request.request_id());
            None
        }
        // The node that had it is gone, or the broker: another one has it next.
        Err(ClientError::Timeout | ClientError::Nobody | ClientError::Broker(_)) => None,
        Err(error) => panic!("{}: {error}", request.request_id()),
    }
}

/// Waits until the other nodes see that `victim` is not ready, and tells when that was.
async fn noticed(cluster: &Cluster, victim: usize, what: &str, limit: Duration, since: Instant) {
    let id = cluster.files.peers.nodes()[victim].1;
    until("its loss is noticed", async || {
        let nodes = cluster.client.status(Duration::from_millis(100)).await.unwrap_or_default();
        let others: Vec<_> = nodes.iter().filter(|node| node.node_id != id).collect();
        let misses = |node: &&quorate::wire::native::NodeStatus| {
            node.peers.iter().any(|peer| peer.node_id == id && !peer.linked)
        };
        (others.len() == 2 && others.iter().all(misses)).then_some(())
    })
    .await;
    let took = since.elapsed();
    println!("{what}: noticed after {} ms, as seen by looking every 120 ms", took.as_millis());
    assert!(took < limit, "{what}: noticed after {took:?}");
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Freeze,
    Stop,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::Kill, Self::Freeze, Self::Stop];
}

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_be_served_whatever_is_done_to_a_node() {
    let server = NatsServer::start().await.unwrap();
    let mut cluster = Cluster::of_ours(server, Files::new(Algorithm::Ed25519), "").await;
    let wallet = Wallet::make(&cluster).await;
    let mut signed = 0;
    for (act, (fault, victim)) in acts(&Fault::ALL).into_iter().enumerate() {
        let load = Load::start(&cluster, &wallet, &format!("act{act}"));
        load.goes_on("all is well").await;
        let since = Instant::now();
        let what = format!("{fault:?} node {victim}");
        match fault {
            Fault::Kill => cluster.kill_node(victim).await,
            Fault::Freeze => cluster.nodes[victim].as_ref().unwrap().signal(Signal::STOP),
            Fault::Stop => cluster.stop_node(victim).await,
        }
        let limit = if matches!(fault, Fault::Freeze) { SILENT } else { GONE };
        noticed(&cluster, victim, &what, limit, since).await;
        load.goes_on(&format!("{what}: the others go on")).await;
        match fault {
            Fault::Kill | Fault::Stop => cluster.start_node(victim).await,
            Fault::Freeze => cluster.nodes[victim].as_ref().unwrap().signal(Signal::CONT),
        }
        cluster.until_complete().await;
        load.goes_on(&format!("{what}: it is back")).await;
        signed += load.end(&cluster, &wallet).await;
    }
    println!("{signed} requests were signed");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_be_served_again_when_the_broker_comes_back_with_or_without_its_data() {
    let server = NatsServer::start().await.unwrap();
    let mut cluster = Cluster::of_ours(server, Files::new(Algorithm::Ed25519), "").await;
    let wallet = Wallet::make(&cluster).await;
    let mut signed = 0;
    for (act, keeps_data) in [true, false].repeat(rounds().unwrap_or(1)).into_iter().enumerate() {
        let load = Load::start(&cluster, &wallet, &format!("broker{act}"));
        load.goes_on("all is well").await;
        let since = Instant::now();
        // Killed: neither nodes nor clients are told.
        cluster.server.restart(keeps_data).await.unwrap();
        let down = since.elapsed();
        load.goes_on("the broker is back").await;
        println!("broker killed, data kept: {keeps_data}: away for {down:?}, served after {:?}", since.elapsed());
        cluster.until_complete().await;
        load.goes_on("all is well again").await;
        signed += load.end(&cluster, &wallet).await;
    }
    println!("{signed} requests were signed");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_be_served_while_the_network_of_a_node_is_bad() {
    const BAD: usize = 2;
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(&server.url()).await;
    let files = Files::new(Algorithm::Ed25519);
    files.configure(&server.url(), "");
    let text = std::fs::read_to_string(files.path().join("quorate.toml")).unwrap();
    for (number, (name, _)) in files.peers.nodes().iter().enumerate() {
        let behind = text.replace(&server.url(), &proxy.address());
        files.write(&format!("{name}.toml"), if number == BAD { &behind } else { &text });
    }
    let cluster = Cluster::start(server, files, "tested", &["-c", "{node}.toml"]).await;
    let wallet = Wallet::make(&cluster).await;
    let mut signed = 0;
    for round in 0..rounds().unwrap_or(1) {
        let load = Load::start(&cluster, &wallet, &format!("round{round}"));
        proxy.set(Passage::Slow(Duration::from_millis(150)));
        load.goes_on("slowly, but all is well").await;
        for (passage, what) in [(Passage::Nothing, "black hole"), (Passage::Closed, "cut")] {
            let since = Instant::now();
            proxy.set(passage);
            noticed(&cluster, BAD, what, SILENT, since).await;
            load.goes_on("the others go on").await;
            proxy.set(Passage::Open);
            cluster.until_complete().await;
        }
        load.goes_on("all is well again").await;
        signed += load.end(&cluster, &wallet).await;
    }
    println!("{signed} requests were signed");
    cluster.stop().await;
}

/// A small disk in a mount namespace of its own, for one folder. It lasts as long as this value.
struct Disk {
    _keeper: Child,
    pid: u32,
}

impl Disk {
    const MEBIBYTES: u32 = 48;

    /// Mounts a disk at `folder`, for processes that are started [within](Self::within); none where this user may not.
    async fn mount(folder: &std::path::Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let script = format!("mount -t tmpfs -o size={}m disk \"$0\" && echo mounted && exec cat", Self::MEBIBYTES);
        let mut keeper = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut said = BufReader::new(keeper.stdout.take().unwrap()).lines();
        soon("a disk is mounted, or is not", said.next_line()).await.unwrap()?;
        let pid = keeper.id().unwrap();
        Some(Self { _keeper: keeper, pid })
    }

    /// What a program is started with to see the disk.
    fn within(&self, folder: &std::path::Path) -> Vec<String> {
        // The working folder is to be the one that is seen from within.
        let enter = ["nsenter", "--mount", "--target", &self.pid.to_string()].map(str::to_owned);
        let then = ["sh", "-c", "cd \"$0\" && exec \"$@\"", &folder.display().to_string()].map(str::to_owned);
        [&enter[..], &then[..]].concat()
    }

    async fn run(&self, program: &[&str]) -> bool {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.pid.to_string()]).args(program).stderr(Stdio::null());
        command.status().await.unwrap().success()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_be_served_while_the_disk_of_a_node_is_full_or_read_only() {
    const POOR: usize = 1;
    let server = NatsServer::start().await.unwrap();
    let files = Files::new(Algorithm::Ed25519);
    let name = files.peers.nodes()[POOR].0.to_string();
    let folder = files.path().join("data").join(&name);
    let Some(disk) = Disk::mount(&folder).await else {
        println!("not tested: this user may not mount a small disk");
        return;
    };
    files.configure(&server.url(), "");
    let within = [(POOR, disk.within(files.path()))].into();
    let mut cluster = Cluster::start_within(server, files, "tested", &["-c", "quorate.toml"], within).await;
    let wallet = Wallet::make(&cluster).await;
    let load = Load::start(&cluster, &wallet, "disk");
    load.goes_on("all is well").await;

    // Full: what cannot be written is not promised. The node ends when its store cannot go on.
    let filler = folder.join("filler").display().to_string();
    assert!(!disk.run(&["dd", "if=/dev/zero", &format!("of={filler}"), "bs=64k"]).await, "the disk is full");
    load.goes_on("the others go on").await;
    assert!(disk.run(&["rm", &filler]).await);
    if cluster.nodes[POOR].as_mut().unwrap().has_ended() {
        cluster.nodes[POOR].take();
        cluster.start_node(POOR).await;
    }
    cluster.until_complete().await;
    load.goes_on("there is room again").await;

    // Read-only: the node says why it does not start.
    cluster.stop_node(POOR).await;
    let remount = |how| ["mount", "-o", how, folder.to_str().unwrap()].map(str::to_owned);
    let run = async |how| disk.run(&remount(how).each_ref().map(String::as_str)).await;
    assert!(run("remount,ro").await);
    cluster.start_node(POOR).await;
    let code = cluster.nodes[POOR].as_mut().unwrap().ended().await;
    let log = cluster.nodes[POOR].take().unwrap().log();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("ead-only"), "{log}");
    assert!(run("remount,rw").await);
    cluster.start_node(POOR).await;
    cluster.until_complete().await;

    // Its shares are as good as before: only it and one other are left.
    cluster.kill_node(0).await;
    load.goes_on("the node with the poor disk signs").await;
    cluster.start_node(0).await;
    cluster.until_complete().await;
    let signed = load.end(&cluster, &wallet).await;
    println!("{signed} requests were signed");
    cluster.stop().await;
}
