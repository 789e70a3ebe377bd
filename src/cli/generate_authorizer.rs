//! `quorate generate-authorizer`: a key that approves requests.

use std::path::PathBuf;

use clap::Args;

use super::Failed;
use super::key_args::{Algorithm, KeyArgs};
use super::request_key::generate;
use crate::identity::RequestKeyFiles;
use crate::ids::NodeName;

/// Makes the key of an authorizer: somebody whose approval requests may need besides the initiator's signature.
#[derive(Args)]
pub(super) struct GenerateAuthorizerArgs {
    /// The authorizer's id, in requests and configurations.
    #[arg(short, long, value_name = "NAME")]
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

impl GenerateAuthorizerArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let files = RequestKeyFiles::authorizer(&self.output_dir, &self.name);
        // A name may have dots in it, which would be sections.
        let section = format!("policy.authorizers.\"{}\"", self.name);
        generate(&files, &self.output_dir, self.algorithm, &self.key, &section)
    }
}
