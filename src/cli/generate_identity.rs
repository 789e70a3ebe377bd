//! `quorate generate-identity`: the key pair of one node.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::key_args::{KeyArgs, make_directory, protection};
use super::{Failed, tell};
use crate::identity::{NodeIdentity, PeerList};
use crate::ids::NodeName;

/// Makes the identity of a node: its Ed25519 key pair, for the id that the peer list gives it.
#[derive(Args)]
pub(super) struct GenerateIdentityArgs {
    /// The node's name in the peer list.
    #[arg(short, long, value_name = "NAME")]
    node: NodeName,
    /// The list of nodes.
    #[arg(short, long, value_name = "FILE", default_value = "peers.json")]
    peers: PathBuf,
    /// The directory to write to.
    #[arg(short, long, value_name = "DIR", default_value = "identity")]
    output_dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

impl GenerateIdentityArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let id = PeerList::load(&self.peers)?.id_of(&self.node).ok_or_else(|| {
            let list = self.peers.display();
            Failed::Usage(anyhow!("{list} lists no node named {}: use one of its names, or correct it", self.node))
        })?;
        let passphrase = self.key.passphrase()?;
        make_directory(&self.output_dir)?;
        let identity = NodeIdentity::generate(self.node, id)?;
        let files = identity.save(&self.output_dir, protection(passphrase.as_ref()), self.key.existing())?;
        tell(&format!(
            "Wrote {} (public) and {} (private, mode 0600).\n\
             Next: copy the public file to the identity directory of every other node, and leave the private one here.\n\
             Once all public files are there, check them:\n  \
             quorate register-peers --peers {} --identity-dir {}\n",
            files.public.display(),
            files.private.display(),
            self.peers.display(),
            self.output_dir.display(),
        ))
    }
}
