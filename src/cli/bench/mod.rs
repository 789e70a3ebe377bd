//! `quorate bench`: what a running cluster does per second, and what that costs it.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::{JoinHandle, JoinSet};

use self::report::{Beside, Report};
use super::client::{ConnectionArgs, InitiatorArgs, run};
use super::{Failed, tell};
use crate::client::{Client, ClientError, KeygenRequest, ReshareRequest, SignRequest};
use crate::identity::RequestKey;
use crate::ids::{NodeId, Scheme, WalletId};
use crate::process;
use crate::wire::native::ProcessReport;

/// How long nodes may take to say what they have used.
const STATUS_WAIT: Duration = Duration::from_secs(2);
/// Requests before those that count, per worker: connections and caches are warm then.
const WARM_UP: u32 = 1;
/// For how long signing is measured before something is done beside it.
const ALONE: Duration = Duration::from_secs(5);

/// Measures a running cluster.
#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Makes wallets with a secp256k1 and an Ed25519 key.
    Keygen(BenchArgs),
    /// Refreshes the shares of wallets with a secp256k1 and an Ed25519 key, each wallet once; they are made before.
    Reshare(ReshareArgs),
    /// Signs digests with ECDSA.
    SignEcdsa(BenchArgs),
    /// Signs messages with Ed25519.
    SignEddsa(BenchArgs),
    /// Signs messages with BIP-340.
    SignTaproot(BenchArgs),
}

/// How much of it.
#[derive(Args)]
pub(super) struct BenchArgs {
    /// How many requests.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// How many at a time.
    #[arg(short, long, value_name = "C", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
    /// The process of the NATS server on this machine, to count what it uses too.
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    initiator: InitiatorArgs,
}

/// How much of it, and what goes on meanwhile.
#[derive(Args)]
pub(super) struct ReshareArgs {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many clients have another wallet sign with ECDSA all the while, each one signature after the other.
    #[arg(long, value_name = "C", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    signing: u32,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Keygen,
    Reshare,
    Sign(Scheme),
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Keygen => "keygen (secp256k1, ed25519)",
            Self::Reshare => "reshare (secp256k1, ed25519)",
            Self::Sign(Scheme::Ecdsa) => "sign ECDSA",
            Self::Sign(Scheme::Ed25519) => "sign Ed25519",
            Self::Sign(Scheme::Bip340) => "sign BIP-340",
        }
    }
}

impl BenchCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let (kind, args, signing) = match self {
            Self::Keygen(args) => (Kind::Keygen, args, 0),
            Self::Reshare(args) => (Kind::Reshare, args.bench, args.signing),
            Self::SignEcdsa(args) => (Kind::Sign(Scheme::Ecdsa), args, 0),
            Self::SignEddsa(args) => (Kind::Sign(Scheme::Ed25519), args, 0),
            Self::SignTaproot(args) => (Kind::Sign(Scheme::Bip340), args, 0),
        };
        run(measure(kind, args, signing))
    }
}

/// A run: its cluster, its wallet, and names that no other run uses.
struct Run {
    client: Client,
    key: Arc<RequestKey>,
    kind: Kind,
    name: String,
    /// How many sign, of whom: of wallets that are reshared.
    committee: (u8, Vec<NodeId>),
}

/// How long requests are sent.
#[derive(Clone)]
struct Pace {
    next: Arc<AtomicU32>,
    requests: u32,
    over: Arc<AtomicBool>,
}

impl Pace {
    /// So many.
    fn of(requests: u32) -> Self {
        Self { next: Arc::default(), requests, over: Arc::default() }
    }

    /// Until it is told.
    fn endless() -> Self {
        Self::of(u32::MAX)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The number of the next request, if there is to be one.
    fn next(&self) -> Option<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.requests && !self.over.load(Ordering::Relaxed)).then_some(number)
    }
}

async fn measure(kind: Kind, args: BenchArgs, signing: u32) -> Result<(), Failed> {
    let key = Arc::new(args.initiator.load()?);
    let client = args.connection.connect().await?;
    let name = format!("bench-{:016x}", rand::random::<u64>());
    let warm_up = args.concurrency * WARM_UP;
    let committee = match kind {
        Kind::Reshare => {
            let (client, key, kind) = (client.clone(), Arc::clone(&key), Kind::Keygen);
            let making = Arc::new(Run { client, key, kind, name: name.clone(), committee: (0, Vec::new()) });
            for (phase, wallets) in [("warm", warm_up), ("run", args.requests)] {
                let made = drive(&making, phase, Pace::of(wallets), args.concurrency, &ProgressBar::hidden()).await?;
                all_succeeded(made, "a wallet was not made")?;
            }
            let first = making.client.wallet(making.wallet("run-0")?).await?;
            first.keys.first().map(|key| (key.threshold, key.committee.clone())).unwrap_or_default()
        }
        Kind::Keygen | Kind::Sign(_) => (0, Vec::new()),
    };
    let work = Arc::new(Run { client, key, kind, name, committee });
    if let Kind::Sign(scheme) = kind {
        work.wallet_to_sign_with(scheme).await?;
    }
    let warmed = drive(&work, "warm", Pace::of(warm_up), args.concurrency, &ProgressBar::hidden()).await?;
    all_succeeded(warmed, "a request of the warm-up failed")?;
    let signing = match signing {
        0 => None,
        clients => Some(Signing::alone(&work, clients).await?),
    };
    let before = used(&work.client, args.broker_pid).await?;
    let bar = progress(args.requests);
    let meanwhile = signing.as_ref().map(Signing::begin);
    let begun = Instant::now();
    let outcomes = drive(&work, "run", Pace::of(args.requests), args.concurrency, &bar).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let beside = match signing.as_ref().zip(meanwhile) {
        None => None,
        Some((signing, meanwhile)) => Some(signing.report(meanwhile.end().await?)),
    };
    let after = used(&work.client, args.broker_pid).await?;
    let report = Report::new(kind.name(), args.concurrency, took, &outcomes, &before, &after).beside(beside);
    if report.succeeded == 0 {
        let codes = report.errors.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(Failed::Work(anyhow!("no request succeeded: {codes}")));
    }
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(|error| Failed::Work(error.into()))? + "\n"
    } else {
        report.to_string()
    };
    tell(&text)
}

/// Clients that sign while something else is measured.
struct Signing {
    clients: u32,
    alone: f64,
    work: Arc<Run>,
}

/// Signatures that are asked for until they are to end.
struct Meanwhile {
    begun: Instant,
    pace: Pace,
    outcomes: JoinHandle<Result<Outcomes, Failed>>,
}

impl Signing {
    /// Measures what they do with nothing beside them.
    async fn alone(measured: &Run, clients: u32) -> Result<Self, Failed> {
        let (client, key, kind) = (measured.client.clone(), Arc::clone(&measured.key), Kind::Sign(Scheme::Ecdsa));
        let work = Arc::new(Run { client, key, kind, name: measured.name.clone(), committee: (0, Vec::new()) });
        work.wallet_to_sign_with(Scheme::Ecdsa).await?;
        let meanwhile = Meanwhile::begin(&work, "alone", clients);
        tokio::time::sleep(ALONE).await;
        let alone = meanwhile.end().await?;
        Ok(Self { clients, alone, work })
    }

    /// Has them sign from now on.
    fn begin(&self) -> Meanwhile {
        Meanwhile::begin(&self.work, "beside", self.clients)
    }

    /// What they did, with so many signatures per second.
    const fn report(&self, per_second: f64) -> Beside {
        let operation = Kind::Sign(Scheme::Ecdsa).name();
        Beside { operation, concurrency: self.clients, per_second_alone: self.alone, per_second }
    }
}

impl Meanwhile {
    fn begin(work: &Arc<Run>, phase: &'static str, clients: u32) -> Self {
        let (pace, work, begun) = (Pace::endless(), Arc::clone(work), Instant::now());
        let until = pace.clone();
        let outcomes = tokio::spawn(async move { drive(&work, phase, until, clients, &ProgressBar::hidden()).await });
        Self { begun, pace, outcomes }
    }

    /// Signatures per second.
    async fn end(self) -> Result<f64, Failed> {
        self.pace.end();
        let outcomes = self.outcomes.await.map_err(|error| Failed::Work(error.into()))??;
        let per_second = outcomes.len() as f64 / self.begun.elapsed().as_secs_f64();
        all_succeeded(outcomes, "a signature failed")?;
        Ok(per_second)
    }
}

/// How long each request took, and the code with which it failed, if it did.
type Outcomes = Vec<(Duration, Result<(), String>)>;

fn all_succeeded(outcomes: Outcomes, or: &str) -> Result<(), Failed> {
    let failed = outcomes.into_iter().find_map(|(_, outcome)| outcome.err());
    failed.map_or(Ok(()), |code| Err(Failed::Work(anyhow!("{or}: {code}"))))
}

/// Sends requests, `concurrency` at a time, and returns what became of each.
async fn drive(
    work: &Arc<Run>,
    phase: &'static str,
    pace: Pace,
    concurrency: u32,
    bar: &ProgressBar,
) -> Result<Outcomes, Failed> {
    let mut workers = JoinSet::new();
    for _ in 0..concurrency.min(pace.requests) {
        let (work, pace, bar) = (Arc::clone(work), pace.clone(), bar.clone());
        workers.spawn(async move {
            let mut outcomes = Vec::new();
            while let Some(number) = pace.next() {
                let request = work.prepare(phase, number)?;
                let begun = Instant::now();
                let outcome = work.send(&request).await;
                outcomes.push((begun.elapsed(), outcome.map_err(|error| code_of(&error))));
                bar.inc(1);
            }
            Ok::<_, anyhow::Error>(outcomes)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = workers.join_next().await {
        let outcomes = done.map_err(|error| Failed::Work(error.into()))?;
        all.extend(outcomes.map_err(Failed::Work)?);
    }
    Ok(all)
}

fn code_of(error: &ClientError) -> String {
    error.code().to_string()
}

/// A signed request.
enum Prepared {
    Keygen(KeygenRequest),
    Reshare(ReshareRequest),
    Sign(SignRequest),
}

impl Run {
    fn wallet(&self, suffix: &str) -> Result<WalletId, Failed> {
        WalletId::try_from(format!("{}-{suffix}", self.name)).map_err(|error| Failed::Work(error.into()))
    }

    /// Makes the wallet that signs.
    async fn wallet_to_sign_with(&self, scheme: Scheme) -> Result<(), Failed> {
        let request = KeygenRequest::builder(self.wallet("signs")?).key_types(&[scheme]).sign_with(&*self.key);
        self.client.keygen(&request.map_err(|error| Failed::Usage(error.into()))?).await?;
        Ok(())
    }

    fn prepare(&self, phase: &str, number: u32) -> anyhow::Result<Prepared> {
        match self.kind {
            Kind::Keygen => {
                let wallet = WalletId::try_from(format!("{}-{phase}-{number}", self.name))?;
                let types = KeygenRequest::DEFAULT_SCHEMES;
                Ok(Prepared::Keygen(KeygenRequest::builder(wallet).key_types(&types).sign_with(&*self.key)?))
            }
            Kind::Reshare => {
                let wallet = WalletId::try_from(format!("{}-{phase}-{number}", self.name))?;
                let (signers, nodes) = &self.committee;
                let request = ReshareRequest::builder(wallet, "refresh".to_owned().try_into()?, *signers, nodes);
                let request = request.key_types(&KeygenRequest::DEFAULT_SCHEMES).sign_with(&*self.key)?;
                Ok(Prepared::Reshare(request))
            }
            Kind::Sign(scheme) => {
                let wallet = WalletId::try_from(format!("{}-signs", self.name))?;
                let request = format!("{phase}-{number}").try_into()?;
                let mut message = [7; 32];
                if let Some(start) = message.first_chunk_mut::<4>() {
                    *start = number.to_be_bytes();
                }
                Ok(Prepared::Sign(SignRequest::builder(scheme, wallet, request, &message).sign_with(&*self.key)?))
            }
        }
    }

    async fn send(&self, request: &Prepared) -> Result<(), ClientError> {
        match request {
            Prepared::Keygen(request) => self.client.keygen(request).await.map(drop),
            Prepared::Reshare(request) => self.client.reshare(request).await.map(drop),
            Prepared::Sign(request) => self.client.sign(request).await.map(drop),
        }
    }
}

/// What every process has used so far, by name.
async fn used(client: &Client, broker: Option<u32>) -> Result<BTreeMap<String, ProcessReport>, Failed> {
    let nodes = client.status(STATUS_WAIT).await?;
    if let Some(node) = nodes.first()
        && nodes.len() < usize::from(node.parties)
    {
        return Err(Failed::Work(anyhow!("only {} of {} nodes say what they use", nodes.len(), node.parties)));
    }
    let mut all: BTreeMap<String, ProcessReport> =
        nodes.into_iter().filter_map(|node| Some((node.name, node.process?))).collect();
    if let Some(pid) = broker {
        let used = process::of(pid).ok_or_else(|| Failed::Usage(anyhow!("there is no process {pid}")))?;
        all.insert("broker".to_owned(), used);
    }
    Ok(all)
}

fn progress(requests: u32) -> ProgressBar {
    let bar = ProgressBar::new(u64::from(requests));
    // The pattern is fixed; without it there would be the library's own.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    bar
}
