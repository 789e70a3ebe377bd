//! `quorate demo`: from its arguments to a plan, and the runtime that the plan runs on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use super::Failed;
use crate::config::{Config, Environment, Flags};
use crate::demo::{self, Output, Plan, Transactions};
use crate::ids::{ClusterId, Threshold};
use crate::node::Settings;

/// Starts a cluster of nodes in this process, makes a wallet by distributed key generation, signs an Ethereum, a
/// Bitcoin and a Solana transaction with it, kills a node while it signs, and takes the node back. Every signature is
/// checked by code that had no part in making it. Nothing leaves the process.
#[derive(Args)]
pub(super) struct DemoArgs {
    /// How many nodes, 2 to 32.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 3)]
    nodes: u8,
    /// How many of them must sign: a majority, unless the configuration allows less. [default: the smallest majority, or
    /// the configuration's]
    #[arg(short, long, value_name = "T")]
    threshold: Option<u8>,
    /// Print the report as one JSON document.
    #[arg(long)]
    json: bool,
    /// An unsigned EIP-1559 transaction in hex, instead of the example.
    #[arg(long, value_name = "FILE")]
    ethereum: Option<PathBuf>,
    /// An unsigned taproot spend as JSON, instead of the example.
    #[arg(long, value_name = "FILE")]
    bitcoin: Option<PathBuf>,
    /// A Solana message as JSON, instead of the example.
    #[arg(long, value_name = "FILE")]
    solana: Option<PathBuf>,
    /// Keep the nodes' stores in this folder, which must be new or empty. [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A node's configuration, for the cluster's name, threshold, deadlines, limits and heartbeats. Identities, keys and
    /// stores are always the demonstration's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DemoArgs {
    /// Runs the demonstration. `logs` says that standard error also carries the log.
    pub(super) fn run(self, logs: bool) -> Result<(), Failed> {
        let output = if self.json { Output::Json } else { Output::Text };
        let plan = self.plan()?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| Failed::Work(error.into()))?;
        runtime.block_on(async {
            tokio::select! {
                done = demo::run(plan, output, logs) => done.map_err(Failed::Work),
                // Dropping the demonstration removes its temporary folder.
                _ = tokio::signal::ctrl_c() => Err(Failed::Interrupted),
            }
        })
    }

    fn plan(self) -> Result<Plan, Failed> {
        let settings = self.settings()?;
        let transactions =
            Transactions::read(self.ethereum.as_deref(), self.bitcoin.as_deref(), self.solana.as_deref())
                .map_err(Failed::Usage)?;
        if let Some(folder) = &self.folder {
            check_folder(folder).map_err(Failed::Usage)?;
        }
        Ok(Plan { settings, transactions, folder: self.folder })
    }

    fn settings(&self) -> Result<Settings, Failed> {
        let usage = |error: anyhow::Error| Failed::Usage(error);
        let threshold = |signers| {
            Threshold::new(signers, self.nodes)
                .with_context(|| format!("{signers} of {} nodes cannot sign", self.nodes))
                .map_err(usage)
        };
        let Some(file) = &self.config else {
            let threshold = threshold(self.threshold.unwrap_or(self.nodes / 2 + 1))?;
            if !threshold.is_majority() {
                let allow = "a configuration with policy.allow_minority_threshold = true allows it";
                return Err(usage(anyhow!("{threshold} lets two groups sign without a common node; {allow}")));
            }
            let cluster = ClusterId::try_from("demo".to_owned()).map_err(|error| usage(error.into()))?;
            return Ok(Settings::new(cluster, threshold));
        };
        let config = Config::load(Some(file), &Environment::of_process(), &Flags::default())?;
        let threshold = threshold(self.threshold.unwrap_or(config.cluster.signers))?;
        config.policy.check_threshold(threshold).map_err(|error| usage(error.into()))?;
        Ok(Settings::from_config(&config, threshold))
    }
}

/// A folder with other things in it is not ours to fill.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let unusable = || format!("failed to use the folder {}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(unusable)?,
    };
    match entries.count() {
        0 => Ok(()),
        _ => Err(anyhow!("it is not empty")).with_context(unusable),
    }
}
