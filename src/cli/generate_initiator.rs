//! `quorate generate-initiator`: the key whose signature every request needs.

use std::path::PathBuf;

use clap::Args;

use super::Failed;
use super::key_args::{Algorithm, KeyArgs};
use super::request_key::generate;
use crate::identity::RequestKeyFiles;
use crate::ids::NodeName;

/// Makes the key of the initiator: every request to the cluster needs its signature.
#[derive(Args)]
pub(super) struct GenerateInitiatorArgs {
    /// The name of its files.
    #[arg(short = 'n', long = "node-name", value_name = "NAME", default_value = RequestKeyFiles::DEFAULT_INITIATOR)]
    name: NodeName,
    /// The directory to write to.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output_dir: PathBuf,
    /// How it signs.
    #[arg(short, long, value_enum, default_value_t = Algorithm::Ed25519)]
    algorithm: Algorithm,
    #[command(flatten)]
    key: KeyArgs,
}

impl GenerateInitiatorArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let files = RequestKeyFiles::initiator(&self.output_dir, &self.name);
        generate(&files, &self.output_dir, self.algorithm, &self.key, "policy.initiator")
    }
}
