//! `quorate cluster`: a NATS server and some nodes as processes on this machine, to try things out.

mod files;
mod processes;

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

use self::files::{Layout, prepare};
use self::processes::Processes;
use super::key_args::make_directory;
use super::stop::Stop;
use super::{Failed, tell};
use crate::client::{Client, Options};
use crate::ids::Threshold;
use crate::local_cluster::setup_limit;
use crate::wire::native::Health;

/// How often the nodes are asked whether they are ready.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a node may take to answer.
const STATUS_WAIT: Duration = Duration::from_secs(1);
/// What nodes may take to start beside setting up their pairs: the first start derives the store's key.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a cluster may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Runs a whole cluster on this machine.
#[derive(Subcommand)]
pub(super) enum ClusterCommand {
    /// Makes what is missing of its files, starts its processes, and stops them when it is interrupted.
    Start(StartArgs),
    /// Stops the cluster of a folder, from another terminal.
    Stop(StopArgs),
}

/// Starts a NATS server and nodes on this machine. Every process listens on the loopback address only.
#[derive(Args)]
pub(super) struct StartArgs {
    /// The folder with everything: identities, configurations, stores, logs.
    #[arg(long, value_name = "DIR", default_value = "cluster")]
    dir: PathBuf,
    /// How many nodes, 2 to 32. A folder that has a cluster already keeps what it has.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 3)]
    nodes: u8,
    /// How many of them must sign: a majority.
    #[arg(short, long, value_name = "T", default_value_t = 2)]
    threshold: u8,
    /// The NATS server's program, 2.9 or later.
    #[arg(long, value_name = "FILE", env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// The NATS server's port.
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    port: u16,
    /// The port of the first node's health; the others follow.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    health_port: u16,
}

/// Stops a cluster.
#[derive(Args)]
pub(super) struct StopArgs {
    /// Its folder.
    #[arg(long, value_name = "DIR", default_value = "cluster")]
    dir: PathBuf,
}

impl ClusterCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Start(args) => run_until_stopped(args),
            Self::Stop(args) => stop(&args.dir).map_err(Failed::Work),
        }
    }
}

fn run_until_stopped(args: StartArgs) -> Result<(), Failed> {
    let threshold = Threshold::new(args.threshold, args.nodes)
        .ok()
        .filter(|threshold| threshold.is_majority())
        .ok_or_else(|| anyhow!("{} of {} nodes is no majority", args.threshold, args.nodes))
        .map_err(Failed::Usage)?;
    // Nothing is written before the folder is known to be nobody else's.
    make_directory(&args.dir)?;
    let Some(_lock) = Lock::take(&args.dir.join(files::PID_FILE)).map_err(Failed::Work)? else {
        return Err(Failed::Usage(anyhow!("the cluster of {} runs already", args.dir.display())));
    };
    let layout = prepare(&args.dir, threshold, args.port, args.health_port)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failed::Work(error.into()))?;
    runtime.block_on(async move {
        // From here on, whatever ends this process in good order ends the others.
        let mut stop = Stop::listen()?;
        let mut processes = tokio::select! {
            started = Processes::start(&layout, &args.nats_server) => started.map_err(Failed::Work)?,
            () = stop.asked() => return Err(Failed::Interrupted),
        };
        let done = tokio::select! {
            done = serve(&layout, threshold) => done,
            failed = processes.failed() => Err(Failed::Work(failed)),
            () = stop.asked() => Ok(()),
        };
        tokio::select! {
            () = processes.stop() => done,
            () = stop.asked() => Err(Failed::Interrupted),
        }
    })
}

/// Waits until all are ready, says how to use them, and then for ever.
async fn serve(layout: &Layout, threshold: Threshold) -> Result<(), Failed> {
    let begun = Instant::now();
    let limit = START_LIMIT + setup_limit(threshold.parties());
    let ready = tokio::time::timeout(limit, until_ready(layout, usize::from(threshold.parties()))).await;
    if ready.is_err() {
        return Err(Failed::Work(anyhow!(
            "the nodes are not ready after {} s; see {}/*.log",
            limit.as_secs(),
            layout.dir.display()
        )));
    }
    tell(&usage(layout, threshold, begun.elapsed()))?;
    std::future::pending().await
}

async fn until_ready(layout: &Layout, nodes: usize) {
    loop {
        let options = Options::new([layout.nats_url()], "quorate cluster");
        if let Ok(client) = Client::connect(&options, layout.cluster.clone()).await {
            while let Ok(all) = client.status(STATUS_WAIT).await {
                let complete = |node: &crate::wire::native::NodeStatus| {
                    node.health == Health::All && node.peers.iter().all(|peer| peer.ready && peer.paired)
                };
                if all.len() == nodes && all.iter().all(complete) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn usage(layout: &Layout, threshold: Threshold, took: Duration) -> String {
    let dir = layout.dir.display();
    format!(
        "A cluster of {} nodes is ready after {:.1} s: {} of them sign.\n\n\
         In another terminal:\n  \
         . {dir}/client.env\n  \
         quorate client status\n  \
         quorate client keygen my-wallet\n  \
         quorate client sign my-wallet --key-type ed25519 --tx-id tx-1 --text 'hello'\n\n\
         Health and metrics: http://127.0.0.1:{}/health\n\
         Logs: {dir}/*.log. To stop: Ctrl-C here, or quorate cluster stop --dir {dir}\n",
        threshold.parties(),
        took.as_secs_f64(),
        threshold.signers(),
        layout.health_port,
    )
}

/// The file that the process which runs a cluster holds locked, with its process id in it. The lock ends with the
/// process, however that ends: a file that is not locked says nothing, since its id may be another process's by now.
struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, unless another process has it.
    fn take(path: &Path) -> anyhow::Result<Option<Self>> {
        let failed = || format!("failed to lock {}", path.display());
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).with_context(failed)?;
        if !try_lock(&file).with_context(failed)? {
            return Ok(None);
        }
        file.set_len(0).with_context(failed)?;
        file.write_all(std::process::id().to_string().as_bytes()).with_context(failed)?;
        Ok(Some(Self { _file: file }))
    }
}

/// Takes the lock of an open file, unless another process has it.
fn try_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn stop(dir: &Path) -> anyhow::Result<()> {
    let none = || format!("no cluster runs in {}", dir.display());
    let path = dir.join(files::PID_FILE);
    let mut file = File::open(&path).with_context(none)?;
    if try_lock(&file)? {
        return Err(anyhow!(none()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let pid =
        text.trim().parse().ok().and_then(Pid::from_raw).with_context(|| format!("{} is damaged", path.display()))?;
    kill_process(pid, Signal::TERM).with_context(|| format!("failed to stop process {pid:?}"))?;
    let until = Instant::now() + STOP_LIMIT;
    while !try_lock(&file)? {
        if Instant::now() > until {
            return Err(anyhow!("the cluster does not stop: see {}/*.log", dir.display()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
