//! What a wallet is: the record that all its nodes sign, and the certificate of their signatures.
//!
//! Nothing about a wallet rests on a discovery service or on one node's word. Its keys, committees, thresholds,
//! generations and chain code stand in the [`WalletRecord`]; the record counts only with the signature of every member,
//! which is the [`WalletCertificate`].
//!
//! A reshare makes a successor of the record: same wallet, same chain code, same keys, and each reshared key of the next
//! generation, with its new committee. Its certificate needs a [proof](proof_message) besides, made by each reshared key
//! itself.
//!
//! A destroyed wallet leaves a [`DestructionCertificate`] in the place of its own: the request, what the wallet was, and each
//! member's statement that it has erased its shares.

mod certificate;
mod commit;
mod destruction;
mod pending;
mod proof;
mod quarantine;
mod record;
#[cfg(test)]
mod tests;

pub use certificate::{RECORD_DOMAIN, WalletCertificate, members, unverified_record};
pub use commit::Commit;
pub use destruction::{
    DestructionCertificate, DestructionError, MAX_DESTRUCTION_BYTES, Statement, TOMBSTONE_PREFIX, is_tombstone,
    tombstone_key,
};
pub(crate) use pending::Pending;
pub use proof::proof_message;
pub use quarantine::{Confirmation, QUARANTINE_PREFIX, RESTORED_KEY, Restored, quarantine_key};
pub use record::{KeyRecord, MAX_RECORD_BYTES, NextKey, WalletRecord};

use crate::error::Code;
use crate::ids::{Generation, NodeId, Scheme, SheetHash, WalletId};
use crate::wire::codec::CodecError;

/// Why a wallet's record or certificate is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// It does not decode, or is too long.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A rule of the record is broken.
    #[error("invalid wallet record: {0}")]
    Rule(&'static str),
    /// A member's signature is missing or does not verify.
    #[error("the wallet record lacks a valid signature of {0}")]
    Signature(NodeId),
    /// A reshared key's proof is missing or does not verify.
    #[error("the wallet record lacks a valid proof of its {0} key")]
    Proof(Scheme),
}

impl WalletError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Codec(_) | Self::Rule(_) => Code::DataCorruption,
            Self::Signature(_) | Self::Proof(_) => Code::ProtocolViolation,
        }
    }
}

/// The storage key of a wallet's certificate in its family.
#[must_use]
pub fn certificate_key(wallet: &WalletId) -> Vec<u8> {
    wallet.as_str().as_bytes().to_vec()
}

/// The storage key of one active share. Wallet ids hold no NUL, so no two names collide.
#[must_use]
pub fn share_key(wallet: &WalletId, scheme: Scheme, generation: Generation) -> Vec<u8> {
    let mut key = active_prefix(wallet);
    key.extend_from_slice(scheme.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&generation.0.to_be_bytes());
    key
}

/// The prefix of the storage keys of active shares.
pub const ACTIVE_PREFIX: &[u8] = b"active\0";

/// What the storage keys of all active shares of a wallet begin with.
#[must_use]
pub fn active_prefix(wallet: &WalletId) -> Vec<u8> {
    [ACTIVE_PREFIX, wallet.as_str().as_bytes(), b"\0"].concat()
}

/// The prefix of the storage keys of shares that were set aside.
pub const ORPHAN_PREFIX: &[u8] = b"orphan\0";

/// The storage key prefix of pending shares.
pub const PENDING_PREFIX: &[u8] = b"pending\0";

/// The storage key under which the shares of a key generation or a reshare stay for which its members say that no
/// certificate can exist; and restored shares that are of an earlier generation than the wallet, until that is confirmed.
#[must_use]
pub fn orphan_key(wallet: &WalletId, session: SheetHash) -> Vec<u8> {
    [orphans_of(wallet).as_slice(), &session.0].concat()
}

/// What the keys of all shares of a wallet begin with that were set aside. Wallet ids hold no NUL.
#[must_use]
pub fn orphans_of(wallet: &WalletId) -> Vec<u8> {
    [ORPHAN_PREFIX, wallet.as_str().as_bytes(), b"\0"].concat()
}

/// The storage key prefix of what is pending of reshares.
pub const RESHARING_PREFIX: &[u8] = b"reshare\0";

/// The storage key of what is pending of a wallet's reshare.
#[must_use]
pub fn resharing_key(wallet: &WalletId) -> Vec<u8> {
    [RESHARING_PREFIX, wallet.as_str().as_bytes()].concat()
}

/// The storage key of the pending shares of a wallet.
#[must_use]
pub fn pending_key(wallet: &WalletId) -> Vec<u8> {
    [PENDING_PREFIX, wallet.as_str().as_bytes()].concat()
}
