//! The proof of a reshared key: a signature under the key itself, made with the new shares.
//!
//! The signatures of members say that they agree on a record. They do not say that there is a key behind it: a few corrupt
//! nodes could make up a committee of themselves, with verifying shares that add up to the key and that nobody holds the
//! secrets of, and have every honest member erase its share. The proof is what they could not make: it takes t members of
//! the new committee, with shares of the old key.

use super::{KeyRecord, WalletError, WalletRecord};
use crate::ids::Scheme;
use crate::protocol::share::MAX_GROUP_BYTES;
use crate::wire::codec;
use crate::wire::transcript::Transcript;

/// The domain of proofs.
const PROOF_DOMAIN: &str = "quorate/reshare-proof/v1";
/// The longest encoded key record, in bytes: its group, and 32 members.
const MAX_KEY_BYTES: usize = MAX_GROUP_BYTES + 4 * 1024;

/// What a reshared key signs as its proof: the wallet, its chain code, and all that the record says of that key. It stays
/// good in later records, in which other keys have moved on.
///
/// ECDSA and BIP-340 keys sign its 32-byte hash; an Ed25519 key signs the domain and then the hash, which no transaction
/// begins like.
///
/// # Errors
/// When the key cannot be encoded, which no valid record's can.
pub fn proof_message(record: &WalletRecord, key: &KeyRecord) -> Result<Vec<u8>, WalletError> {
    let hash = Transcript::new(PROOF_DOMAIN)
        .field(record.cluster.as_str().as_bytes())
        .field(record.wallet.as_str().as_bytes())
        .field(&record.chain_code.0)
        .field(&codec::encode(key, MAX_KEY_BYTES)?)
        .finish();
    Ok(match key.group.scheme() {
        Scheme::Ed25519 => [PROOF_DOMAIN.as_bytes(), &hash].concat(),
        Scheme::Ecdsa | Scheme::Bip340 => hash.to_vec(),
    })
}
