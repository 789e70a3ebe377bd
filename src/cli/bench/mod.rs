//! `quorate bench`: what a running cluster does per second, and what that costs it.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use self::report::Report;
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

/// Measures a running cluster.
#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Makes wallets with a secp256k1 and an Ed25519 key.
    Keygen(BenchArgs),
    /// Refreshes the shares of wallets with a secp256k1 and an Ed25519 key, each wallet once; they are made before.
    Reshare(BenchArgs),
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
        let (kind, args) = match self {
            Self::Keygen(args) => (Kind::Keygen, args),
            Self::Reshare(args) => (Kind::Reshare, args),
            Self::SignEcdsa(args) => (Kind::Sign(Scheme::Ecdsa), args),
            Self::SignEddsa(args) => (Kind::Sign(Scheme::Ed25519), args),
            Self::SignTaproot(args) => (Kind::Sign(Scheme::Bip340), args),
        };
        run(measure(kind, args))
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

async fn measure(kind: Kind, args: BenchArgs) -> Result<(), Failed> {
    let key = Arc::new(args.initiator.load()?);
    let client = args.connection.connect().await?;
    let name = format!("bench-{:016x}", rand::random::<u64>());
    let warm_up = args.concurrency * WARM_UP;
    let committee = match kind {
        Kind::Reshare => {
            let (client, key, kind) = (client.clone(), Arc::clone(&key), Kind::Keygen);
            let making = Arc::new(Run { client, key, kind, name: name.clone(), committee: (0, Vec::new()) });
            for (phase, wallets) in [("warm", warm_up), ("run", args.requests)] {
                let made = drive(&making, phase, wallets, args.concurrency, &ProgressBar::hidden()).await?;
                if let Some(code) = made.into_iter().find_map(|(_, outcome)| outcome.err()) {
                    return Err(Failed::Work(anyhow!("a wallet was not made: {code}")));
                }
            }
            let first = making.client.wallet(making.wallet("run-0")?).await?;
            first.keys.first().map(|key| (key.threshold, key.committee.clone())).unwrap_or_default()
        }
        Kind::Keygen | Kind::Sign(_) => (0, Vec::new()),
    };
    let work = Arc::new(Run { client, key, kind, name, committee });
    if let Kind::Sign(scheme) = kind {
        let request = KeygenRequest::builder(work.wallet("signs")?).key_types(&[scheme]).sign_with(&*work.key);
        work.client.keygen(&request.map_err(|error| Failed::Usage(error.into()))?).await?;
    }
    let warmed = drive(&work, "warm", warm_up, args.concurrency, &ProgressBar::hidden()).await?;
    if let Some(code) = warmed.into_iter().find_map(|(_, outcome)| outcome.err()) {
        return Err(Failed::Work(anyhow!("a request of the warm-up failed: {code}")));
    }
    let before = used(&work.client, args.broker_pid).await?;
    let bar = progress(args.requests);
    let begun = Instant::now();
    let outcomes = drive(&work, "run", args.requests, args.concurrency, &bar).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let after = used(&work.client, args.broker_pid).await?;
    let report = Report::new(kind.name(), args.concurrency, took, &outcomes, &before, &after);
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

/// Sends `requests`, `concurrency` at a time, and returns what became of each and how long it took.
async fn drive(
    work: &Arc<Run>,
    phase: &'static str,
    requests: u32,
    concurrency: u32,
    bar: &ProgressBar,
) -> Result<Vec<(Duration, Result<(), String>)>, Failed> {
    let next = Arc::new(AtomicU32::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency.min(requests) {
        let (work, next, bar) = (Arc::clone(work), Arc::clone(&next), bar.clone());
        workers.spawn(async move {
            let mut outcomes = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok::<_, anyhow::Error>(outcomes);
                }
                let request = work.prepare(phase, number)?;
                let begun = Instant::now();
                let outcome = work.send(&request).await;
                outcomes.push((begun.elapsed(), outcome.map_err(|error| code_of(&error))));
                bar.inc(1);
            }
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
