//! A long life in short: processes sign, and lose sessions, again and again; and in the end they hold what they held.
//!
//! `SOAK_SESSIONS=n` (`make soak`) runs n sessions; without, a few hundred.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::client::SignRequest;
use quorate::identity::Algorithm;
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::chaos::{DIGEST, Wallet, ask};
use crate::cluster::{Cluster, Files};
use crate::proxy::{Passage, Proxy};
use crate::{soon, until};

const SESSIONS: usize = 240;
/// How many are asked for at once.
const BATCH: usize = 24;
/// The node whose network is cut in every other batch.
const CUT: usize = 2;
const QUICK: &str = "[link]\nheartbeat_interval_ms = 300\n";
/// How long a client waits for a node whose network is cut.
const ANSWER: Duration = Duration::from_secs(3);
/// What a node's memory may grow by, in KiB, however many sessions there are.
const MEMORY: u64 = 24 << 10;
/// Threads more or less of a pool that breathes.
const THREADS: usize = 16;

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    files: usize,
    threads: usize,
    /// Resident, in KiB.
    memory: u64,
}

fn held(pid: u32) -> Held {
    let count = |of| std::fs::read_dir(format!("/proc/{pid}/{of}")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = memory.trim().trim_end_matches(" kB").parse().unwrap();
    Held { files: count("fd"), threads: count("task"), memory }
}

/// The subscriptions at the server, by the name of their connection.
async fn subscriptions(address: &str) -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /connz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("the server tells of itself", stream.read_to_string(&mut answer)).await.unwrap();
    let told: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let mut counts = BTreeMap::new();
    for connection in told["connections"].as_array().unwrap() {
        let name = connection["name"].as_str().unwrap_or_default().to_owned();
        *counts.entry(name).or_default() += connection["subscriptions"].as_u64().unwrap();
    }
    counts
}

/// Waits until the nodes have as many subscriptions as `wanted`, if it is said, and tells how many.
async fn settled(address: &str, wanted: Option<&BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let (mut last, mut same) = (BTreeMap::new(), 0);
    until("the subscriptions are as many as before", async || {
        let now = subscriptions(address).await;
        same = if now == last { same + 1 } else { 0 };
        last = now.clone();
        // Those of answers that are waited for come and go.
        let good = wanted.map_or(same >= 10, |wanted| now == *wanted);
        (good || same >= 1000).then_some(now)
    })
    .await
}

/// Asks for so many signatures, and cuts a node off while they are made, every other time. Tells how many failed.
async fn work(cluster: &Cluster, proxy: &Proxy, wallet: &Wallet, name: &str, sessions: usize) -> usize {
    let mut failed = 0;
    for batch in 0..sessions / BATCH {
        let mut clients = JoinSet::new();
        for number in 0..BATCH {
            let id = format!("{name}-{batch}-{number}").parse().unwrap();
            let scheme = if number % 4 == 0 { Scheme::Ecdsa } else { Scheme::Ed25519 };
            let request = SignRequest::builder(scheme, "w".parse().unwrap(), id, &DIGEST);
            let request = request.sign_with(&cluster.files.initiator).unwrap();
            let (client, wallet) = (cluster.client.clone().with_limit(ANSWER), wallet.clone());
            clients.spawn(async move { ask(&client, &wallet, &request).await });
        }
        if batch % 2 == 1 {
            // After the first answer, all others are at work.
            let first = soon("an answer", clients.join_next()).await.unwrap().unwrap();
            failed += usize::from(first.is_none());
            proxy.set(Passage::Closed);
        }
        while let Some(answer) = soon("a client is answered", clients.join_next()).await {
            failed += usize::from(answer.unwrap().is_none());
        }
        proxy.set(Passage::Open);
        cluster.until_complete().await;
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn processes__should_hold_in_the_end_what_they_held_before() {
    let sessions = std::env::var("SOAK_SESSIONS").map_or(SESSIONS, |text| text.parse().unwrap());
    let server = NatsServer::start_with("http: \"127.0.0.1:-1\"").await.unwrap();
    let monitoring = server.monitoring().unwrap();
    let proxy = Proxy::start(&server.url()).await;
    let files = Files::new(Algorithm::Ed25519);
    files.configure(&server.url(), QUICK);
    let text = std::fs::read_to_string(files.path().join("quorate.toml")).unwrap();
    for (number, (name, _)) in files.peers.nodes().iter().enumerate() {
        let behind = text.replace(&server.url(), &proxy.address());
        files.write(&format!("{name}.toml"), if number == CUT { &behind } else { &text });
    }
    let cluster = Cluster::start(server, files, "tested", &["-c", "{node}.toml"]).await;
    let wallet = Wallet::make(&cluster).await;
    let pids: Vec<u32> = cluster.nodes.iter().flatten().map(crate::node::Node::id).collect();
    // Caches, thread pools and the allocator get their size.
    work(&cluster, &proxy, &wallet, "first", sessions / 3).await;
    let subscribed = settled(&monitoring, None).await;
    let before: Vec<Held> = pids.iter().map(|&pid| held(pid)).collect();
    let failed = work(&cluster, &proxy, &wallet, "then", sessions).await;
    let now_subscribed = settled(&monitoring, Some(&subscribed)).await;
    let after: Vec<Held> = pids.iter().map(|&pid| held(pid)).collect();
    println!("{sessions} requests, {failed} failed; subscriptions {now_subscribed:?}; {before:?} became {after:?}");
    assert!(failed * 10 > sessions, "only {failed} of {sessions} failed");
    assert_eq!(now_subscribed, subscribed);
    for (before, after) in before.iter().zip(&after) {
        assert!(
            after.files <= before.files && after.threads <= before.threads + THREADS,
            "{before:?} became {after:?}"
        );
        assert!(after.memory < before.memory + MEMORY, "{before:?} became {after:?}");
    }
    cluster.stop().await;
}
