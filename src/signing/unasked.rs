//! Signatures that the cluster asks of itself: with a wallet's key as it is, for no client.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::prepare::wallet_context;
use crate::error::Code;
use crate::ids::{PartyIndex, Scheme};
use crate::keys::{DerivationPath, Signature};
use crate::protocol::derivation::derive;
use crate::protocol::ecdsa_signing::EcdsaSigning;
use crate::protocol::frost_signing::FrostSigning;
use crate::protocol::pair::PairState;
use crate::protocol::share::KeyShare;
use crate::protocol::{Party, RunContext, rng};
use crate::secret::SecretBytes;
use crate::wallet::{KeyRecord, WalletRecord};

/// Builds a member's side of such a signature from its share as it is stored: work for the pool. `pairs` are the states with
/// the other signers, of which only ECDSA has any; for it, `message` is a digest of 32 bytes.
///
/// # Errors
/// When the share is not one of the key, or the engine does not take what it is given.
pub(crate) fn unasked_party(
    context: RunContext,
    record: &WalletRecord,
    key: &KeyRecord,
    share: &SecretBytes,
    pairs: BTreeMap<PartyIndex, Arc<PairState>>,
    message: Vec<u8>,
) -> Result<Box<dyn Party<Output = Signature>>, Code> {
    let share = KeyShare::from_secret_bytes(share.expose(), &key.group).map_err(|error| error.code())?;
    let derived = derive(&key.public_key(), &record.chain_code, &DerivationPath::default());
    let derived = derived.map_err(|error| error.code())?;
    if key.group.scheme() == Scheme::Ecdsa {
        let digest = message.try_into().map_err(|_| Code::Internal)?;
        let wallet = wallet_context(&record.wallet, key.generation);
        let engine = EcdsaSigning::new(&context, &share, pairs, &derived, &wallet, digest);
        return engine.map(|party| Box::new(party) as _).map_err(|error| error.code());
    }
    let engine = FrostSigning::new(context, &share, &derived, message, None, rng::os());
    engine.map(|party| Box::new(party) as _).map_err(|error| error.code())
}
