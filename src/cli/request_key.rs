//! What initiators and authorizers have in common: a key, its two files, its section in a configuration.

use std::path::Path;

use super::key_args::{Algorithm, KeyArgs, make_directory, protection};
use super::{Failed, tell};
use crate::identity::{RequestKey, RequestKeyFiles};

/// Makes a key, writes its files, and says which `section` the nodes need.
pub(super) fn generate(
    files: &RequestKeyFiles,
    directory: &Path,
    algorithm: Algorithm,
    args: &KeyArgs,
    section: &str,
) -> Result<(), Failed> {
    let passphrase = args.passphrase()?;
    make_directory(directory)?;
    let key = RequestKey::generate(algorithm.into()).map_err(|error| Failed::Work(error.into()))?;
    let saved = files.save(&key, protection(passphrase.as_ref()), args.existing())?;
    tell(&format!(
        "Wrote {} (public) and {} (private, mode 0600).\n\
         Next: add this to the configuration of every node, and keep the private file where requests are signed:\n\n\
         [{section}]\nalgorithm = \"{}\"\npublic_key = \"{}\"\n",
        saved.public.display(),
        saved.private.display(),
        key.algorithm(),
        key.public(),
    ))
}
