//! `make bench`: what an operation costs, in the engines and end to end, as figures to compare releases by.
//!
//! - *Engines*: CPU time of one party, the whole run in one thread; medians.
//! - *Cluster*: a 2-of-3 cluster in this process, synced writes, broker in memory; the client's latency, and the CPU
//!   time of the whole process per operation and node that takes part.
//!
//! The difference between the two is what actors, links and storage cost. Every signature is checked by the cluster
//! itself before it is answered.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![expect(clippy::indexing_slicing, reason = "the sizes are fixed here")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::ids::{ClusterId, RequestId, Scheme, Threshold, WalletId};
use quorate::keys::{ChainCode, DerivationPath};
use quorate::local_cluster::{LocalCluster, setup_limit};
use quorate::node::Settings;
use quorate::protocol::derivation::derive;
use quorate::protocol::ecdsa_signing::EcdsaSigning;
use quorate::protocol::frost_signing::FrostSigning;
use quorate::protocol::keygen::Keygen;
use quorate::protocol::pair::testbed::established;
use quorate::protocol::share::KeyShare;
use quorate::protocol::testbed::{Parties, contexts, deal, run};
use quorate::protocol::{Party, rng};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

/// Operations per engine figure.
const ENGINE_RUNS: usize = 60;
/// Operations per latency figure.
const SEQUENTIAL: usize = 200;
/// Operations per throughput figure, and how many at a time.
const CONCURRENT: (usize, usize) = (400, 16);
/// Wallets per key generation figure.
const WALLETS: usize = 40;

fn main() {
    if cfg!(debug_assertions) {
        println!("note: built without optimisation; run `make bench` for figures that mean something");
    }
    engines();
    let runtime = quorate::runtime::build().unwrap();
    runtime.block_on(cluster());
}

/// CPU time so far: of this thread, or of the process.
fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

// --- engines ---------------------------------------------------------------------------------------------------------

fn engines() {
    println!("engines, CPU per party (median of {ENGINE_RUNS}; includes building the engine)");
    let threshold = Threshold::new(2, 3).unwrap();
    let schemes: BTreeSet<Scheme> = Scheme::ALL.into();
    engine("keygen, three schemes, 2-of-3", 3, || {
        parties(contexts(1, &[1, 2, 3]).into_iter().map(|context| {
            (
                context.me,
                Box::new(Keygen::new(context, threshold, &schemes, rng::os()).unwrap()) as Box<dyn Party<Output = _>>,
            )
        }))
    });
    let shares = |scheme| deal(scheme, threshold, &mut *rng::os()).into_iter().map(Arc::new).collect::<Vec<_>>();
    let ecdsa = shares(Scheme::Ecdsa);
    let halves = &established()[0];
    engine("sign ECDSA, 2-of-3", 2, || {
        parties(contexts(2, &[1, 2]).into_iter().enumerate().map(|(at, context)| {
            let other = context.others().next().unwrap();
            let pairs = BTreeMap::from([(other, Arc::clone(&halves[at]))]);
            let derived = wallet_key(&ecdsa[at]);
            let party = EcdsaSigning::new(&context, &ecdsa[at], pairs, &derived, b"bench", [7; 32]).unwrap();
            (context.me, Box::new(party) as Box<dyn Party<Output = _>>)
        }))
    });
    for scheme in [Scheme::Ed25519, Scheme::Bip340] {
        let shares = shares(scheme);
        engine(&format!("sign {scheme}, 2-of-3"), 2, || {
            parties(contexts(3, &[1, 2]).into_iter().enumerate().map(|(at, context)| {
                let derived = wallet_key(&shares[at]);
                let me = context.me;
                let party = FrostSigning::new(context, &shares[at], &derived, vec![7; 32], None, rng::os()).unwrap();
                (me, Box::new(party) as Box<dyn Party<Output = _>>)
            }))
        });
    }
}

fn parties<O>(parties: impl Iterator<Item = (quorate::ids::PartyIndex, Box<dyn Party<Output = O>>)>) -> Parties<O> {
    parties.collect()
}

fn wallet_key(share: &KeyShare) -> quorate::protocol::derivation::Derived {
    derive(&share.public_key(), &ChainCode([9; 32]), &DerivationPath::default()).unwrap()
}

fn engine<O>(name: &str, count: u32, build: impl Fn() -> Parties<O>) {
    let mut times: Vec<Duration> = (0..ENGINE_RUNS)
        .map(|_| {
            let before = cpu(ClockId::ThreadCPUTime);
            assert!(run(build()).into_outputs().is_some());
            (cpu(ClockId::ThreadCPUTime) - before) / count
        })
        .collect();
    times.sort_unstable();
    println!("  {name:<34} {:>10}", millis(percentile(&times, 50)));
}

// --- cluster ---------------------------------------------------------------------------------------------------------

async fn cluster() {
    let folder = tempfile::tempdir().unwrap();
    let cluster: ClusterId = "bench".parse().unwrap();
    let settings = Settings::new(cluster, Threshold::new(2, 3).unwrap());
    let mut cluster = LocalCluster::prepare(folder.path(), &settings, |policy| policy).unwrap();
    cluster.start_all().await.unwrap();
    let started = Instant::now();
    tokio::time::timeout(setup_limit(3), cluster.until_complete()).await.unwrap().unwrap();
    println!("\ncluster of 3 in one process: pairs set up in {}", millis(started.elapsed()));
    println!("CPU per node that takes part, and of it the engines, as they run there; the client's own is in it");
    let columns = ["p50", "p95", "p99", "CPU", "engines", "the rest"].map(|column| format!("{column:>10}"));
    println!("  {:<34} {}", "one at a time", columns.join(" "));
    keygens(&cluster).await;
    for scheme in Scheme::ALL {
        sequential(&cluster, scheme).await;
    }
    let columns = ["per second", "", "", "CPU", "engines", "the rest"].map(|column| format!("{column:>10}"));
    println!("  {:<34} {}", format!("{} at a time", CONCURRENT.1), columns.join(" "));
    let cluster = Arc::new(cluster);
    for scheme in Scheme::ALL {
        concurrent(&cluster, scheme).await;
    }
    Arc::into_inner(cluster).unwrap().shutdown_all().await;
}

/// The CPU time that the process had used, and of it the engines, when something began.
struct Used {
    all: Duration,
    engines: Duration,
}

impl Used {
    fn now() -> Self {
        Self { all: cpu(ClockId::ProcessCPUTime), engines: quorate::process::engines() }
    }

    /// What was used since, for each of the nodes and operations: in all, by the engines, by the rest.
    fn since(&self, operations: usize, nodes: u32) -> String {
        let shares = u32::try_from(operations).unwrap() * nodes;
        let now = Self::now();
        let (all, engines) = ((now.all - self.all) / shares, (now.engines - self.engines) / shares);
        [all, engines, all - engines].map(|time| format!("{:>10}", millis(time))).join(" ")
    }
}

fn report(name: &str, mut times: Vec<Duration>, used: &Used, nodes: u32) {
    let used = used.since(times.len(), nodes);
    times.sort_unstable();
    let [p50, p95, p99] = [50, 95, 99].map(|percent| millis(percentile(&times, percent)));
    println!("  {name:<34} {p50:>10} {p95:>10} {p99:>10} {used}");
}

async fn keygens(cluster: &LocalCluster) {
    let before = Used::now();
    let mut times = Vec::new();
    for number in 0..WALLETS {
        let wallet: WalletId = format!("wallet-{number}").parse().unwrap();
        let request = cluster.keygen_request(&wallet, &Scheme::ALL).unwrap();
        let begun = Instant::now();
        cluster.node(number % 3).unwrap().keygen(request).await.unwrap();
        times.push(begun.elapsed());
    }
    report("keygen, three schemes", times, &before, 3);
}

fn request(cluster: &LocalCluster, scheme: Scheme, name: &str) -> quorate::wire::request::SignRequest {
    let wallet: WalletId = "wallet-0".parse().unwrap();
    let name: RequestId = name.parse().unwrap();
    cluster.sign_request(scheme, &wallet, &name, DerivationPath::default(), &[7; 32]).unwrap()
}

async fn sequential(cluster: &LocalCluster, scheme: Scheme) {
    let before = Used::now();
    let mut times = Vec::new();
    for number in 0..SEQUENTIAL {
        let request = request(cluster, scheme, &format!("{scheme}-{number}"));
        let begun = Instant::now();
        cluster.node(number % 3).unwrap().sign(request).await.unwrap();
        times.push(begun.elapsed());
    }
    report(&format!("sign {scheme}"), times, &before, 2);
}

async fn concurrent(cluster: &Arc<LocalCluster>, scheme: Scheme) {
    let (operations, at_a_time) = CONCURRENT;
    let before = Used::now();
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..at_a_time {
        let cluster = Arc::clone(cluster);
        workers.spawn(async move {
            for number in 0..operations / at_a_time {
                let request = request(&cluster, scheme, &format!("{scheme}-{worker}-{number}"));
                cluster.node((worker + number) % 3).unwrap().sign(request).await.unwrap();
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
    let rate = operations as f64 / begun.elapsed().as_secs_f64();
    let used = before.since(operations, 2);
    println!("  {:<34} {rate:>10.0} {:>10} {:>10} {used}", format!("sign {scheme}"), "", "");
}
