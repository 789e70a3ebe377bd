//! `quorate client status`.

use std::time::Duration;

use clap::Args;

use super::super::Failed;
use super::{ConnectionArgs, show};
use crate::wire::native::{Health, NodeStatus};

/// How long nodes may take to answer.
const WAIT: Duration = Duration::from_secs(2);

/// Prints how every node sees the cluster.
#[derive(Args)]
pub(in crate::cli) struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl StatusArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let nodes = self.connection.connect().await?.status(WAIT).await?;
        show(self.json, &nodes, || nodes.iter().map(describe).collect())
    }
}

fn describe(node: &NodeStatus) -> String {
    let health = match node.health {
        Health::All => "all nodes are ready",
        Health::Enough => "enough nodes are ready",
        Health::TooFew => "too few nodes are ready",
    };
    let peers: String = node
        .peers
        .iter()
        .map(|peer| {
            let state = match (peer.ready, peer.paired) {
                (true, true) => "ready",
                (true, false) => "ready, not yet for ECDSA",
                (false, _) if !peer.leased => "gone",
                (false, _) => "not ready",
            };
            let rtt = peer.rtt_ms.map(|rtt| format!(", {rtt:.1} ms")).unwrap_or_default();
            format!("  {:<16}{state}{rtt}\n", peer.name)
        })
        .collect();
    let Some(process) = node.process else { return format!("{}: {health}\n{peers}", node.name) };
    let mib = |bytes: u64| bytes / (1024 * 1024);
    format!(
        "{}: {health}; up {} s, {:.1} s of CPU, {} MiB (at most {})\n{peers}",
        node.name,
        node.uptime_seconds,
        process.cpu_seconds,
        mib(process.resident_bytes),
        mib(process.peak_resident_bytes)
    )
}
