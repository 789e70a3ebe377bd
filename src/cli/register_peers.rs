//! `quorate register-peers`: is the peer book complete, do its files agree, and do others say the same?

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::client::{ConnectionArgs, run};
use super::{Failed, tell};
use crate::identity::PeerBook;
use crate::ids::Threshold;
use crate::registry::{Announcements, announcement_bucket};

/// Checks the peer book: no name, id or key twice, and for every node an identity file that agrees. Prints a fingerprint
/// that must be the same on all nodes. With `--announce`, compares it with what others have announced through the
/// broker. Nodes trust these files alone, whatever is announced.
#[derive(Args)]
pub(super) struct RegisterPeersArgs {
    /// The list of nodes.
    #[arg(short, long, value_name = "FILE", default_value = "peers.json")]
    peers: PathBuf,
    /// The directory with the identity file of every node.
    #[arg(long, value_name = "DIR", default_value = "identity")]
    identity_dir: PathBuf,
    /// Check too that so many of the nodes can sign: a majority of them, but not more than there are.
    #[arg(short, long, value_name = "T")]
    threshold: Option<u8>,
    /// Announce the nodes in a key-value bucket of the NATS server, and fail if others are announced there.
    #[arg(long)]
    announce: bool,
    /// The bucket; quorate-<cluster>-peers unless given.
    #[arg(long, value_name = "NAME", requires = "announce")]
    bucket: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl RegisterPeersArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let book = PeerBook::load(&self.peers, &self.identity_dir)?;
        let nodes = u8::try_from(book.members().len()).unwrap_or(u8::MAX);
        if let Some(signers) = self.threshold {
            check_threshold(signers, nodes).map_err(Failed::Usage)?;
        }
        tell(&describe(&book, nodes).map_err(|error| Failed::Work(error.into()))?)?;
        if self.announce { run(self.announce(&book)) } else { Ok(()) }
    }

    async fn announce(&self, book: &PeerBook) -> Result<(), Failed> {
        let (connection, cluster) = self.connection.connect_broker().await?;
        let bucket = self.bucket.clone().unwrap_or_else(|| announcement_bucket(cluster));
        let announced = async { Announcements::open(&connection, bucket.clone()).await?.announce(book).await };
        let new = announced.await.map_err(|error| Failed::Work(error.into()))?;
        let same = book.members().len().saturating_sub(new);
        tell(&format!("Announced in bucket {bucket}: {new} new, {same} as before.\n"))
    }
}

fn check_threshold(signers: u8, nodes: u8) -> anyhow::Result<()> {
    let threshold =
        Threshold::new(signers, nodes).with_context(|| format!("{signers} of {nodes} nodes cannot sign"))?;
    if threshold.is_majority() {
        return Ok(());
    }
    Err(anyhow!("{threshold} lets two groups sign without a common node: take {} or more", nodes / 2 + 1))
}

fn describe(book: &PeerBook, nodes: u8) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let width = book.members().iter().map(|member| member.name.as_str().len()).max().unwrap_or(0);
    for member in book.members() {
        writeln!(text, "{:width$}  {}  {}", member.name.as_str(), member.id, hex::encode(member.key.as_bytes()))?;
    }
    writeln!(text, "The peer book is complete: {nodes} nodes, each with the identity file that belongs to it.")?;
    writeln!(text, "Fingerprint, the same on all nodes: {}", hex::encode(book.fingerprint()))?;
    writeln!(text, "Thresholds to choose from (cluster.threshold): {} to {nodes}.", nodes / 2 + 1)?;
    Ok(text)
}
