//! The last round of what makes shares: everybody tells everybody what keys came of it.
//!
//! Parties that had the same broadcasts compute the same keys. So a confirmation of something else convicts its sender, and
//! nobody has an output unless everybody's shares were right.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest as _, Sha256};

use super::echo::{self, Digest};
use super::fault::Fault;
use super::rounds::{broadcast, decode_all};
use super::share::{GroupKey, MAX_GROUP_BYTES};
use super::slots::Received;
use super::{AbortReason, Progress, RunContext};
use crate::wire::codec;

/// The longest confirmation, in bytes.
const MAX_PAYLOAD_BYTES: usize = 64;

/// To all: the sender's shares are right, and these are the keys.
#[derive(Serialize, Deserialize)]
struct Confirmation {
    /// The digest of transcript and keys, bound to the sender.
    digest: ByteArray<32>,
}

/// The digest of the keys that came of a transcript.
pub(super) fn digest_keys<'a>(
    transcript: &Digest,
    groups: impl IntoIterator<Item = &'a GroupKey>,
) -> Result<Digest, Fault> {
    let mut hash = Sha256::new_with_prefix(transcript);
    for group in groups {
        let group = codec::encode(group, MAX_GROUP_BYTES).map_err(|_| Fault::engine())?;
        hash.update((group.len() as u64).to_be_bytes());
        hash.update(&group);
    }
    Ok(hash.finalize().into())
}

/// This party's confirmation, as its message of `round`.
pub(super) fn confirm<O>(
    domain: &'static str,
    context: &RunContext,
    round: u8,
    keys: &Digest,
) -> Result<Progress<O>, Fault> {
    let digest = echo::digest(domain, context, context.me, keys);
    broadcast(round, &Confirmation { digest: ByteArray::new(digest) }, MAX_PAYLOAD_BYTES)
}

/// Whether everybody confirmed the same keys.
///
/// # Errors
/// Names all who did not.
pub(super) fn check(
    domain: &'static str,
    context: &RunContext,
    keys: &Digest,
    received: &Received,
) -> Result<(), Fault> {
    let confirmations = decode_all::<Confirmation>(received, MAX_PAYLOAD_BYTES, |_| true)?;
    let others = confirmations
        .iter()
        .filter(|&(&party, confirmation)| *confirmation.digest != echo::digest(domain, context, party, keys));
    Fault::unless_empty(AbortReason::InvalidProof, others.map(|(&party, _)| party).collect())
}
