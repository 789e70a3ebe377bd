//! `quorate generate-peers`: the list of nodes that every node of a cluster gets a copy of.

use std::path::PathBuf;

use clap::Args;

use super::key_args::existing;
use super::{Failed, tell};
use crate::identity::PeerList;

/// Writes a list of nodes, node0 and so on, with fresh ids. Every node needs the same copy.
#[derive(Args)]
pub(super) struct GeneratePeersArgs {
    /// How many nodes, 2 to 32.
    #[arg(short, long, value_name = "N")]
    number: u8,
    /// The file to write.
    #[arg(short, long, value_name = "FILE", default_value = "peers.json")]
    output: PathBuf,
    /// Replace the file if it exists: identities made for its ids no longer fit.
    #[arg(short, long, visible_alias = "overwrite")]
    force: bool,
}

impl GeneratePeersArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let peers = PeerList::generate(self.number)?;
        peers.save(&self.output, existing(self.force))?;
        let (file, last) = (self.output.display(), self.number.saturating_sub(1));
        tell(&format!(
            "Wrote {file}: {} nodes, node0 to node{last}.\n\
             Next: copy it to every node, and make the identity of each there, as for node0:\n  \
             quorate generate-identity --node node0 --peers {file}\n",
            self.number
        ))
    }
}
