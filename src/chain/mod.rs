//! Chains: the addresses of wallets, and the unsigned transactions that a signature makes whole.
//!
//! ```text
//!  file ──parse (limits)──► transaction ──► what is to be signed ──► (the cluster) ──► Signature
//!                               └──────────── assemble, verify ◄──────────────────────────┘
//! ```
//!
//! Pure functions of public values. Nothing here shares arithmetic with the threshold engines where it can be helped:
//! secp256k1 is libsecp256k1's (also for public key recovery and the taproot tweak), so that what an engine got wrong is
//! noticed here.

mod address;
mod bitcoin_spend;
mod ethereum;
mod solana;
mod solana_layout;

pub use address::{
    Network, bitcoin_p2tr, bitcoin_p2wpkh, ethereum_address, solana_address, taproot_output_key, taproot_script,
};
pub use bitcoin_spend::{TaprootSpend, TaprootSpendFile};
pub use ethereum::EthereumTransaction;
pub use solana::{SolanaMessage, SolanaMessageFile};

use crate::error::Code;
use crate::ids::Scheme;

/// The longest transaction file, in bytes.
pub const MAX_TRANSACTION_FILE_BYTES: usize = 256 * 1024;

/// Why there is no address, or a transaction cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The key or signature is of a scheme that the chain does not take.
    #[error("a key or signature of scheme {found} was given where {wanted} is needed")]
    Scheme {
        /// What was given.
        found: Scheme,
        /// What the chain takes.
        wanted: Scheme,
    },
    /// The bytes of a key are no point of its curve.
    #[error("the public key is no point of its curve")]
    Key,
    /// The file is longer than [`MAX_TRANSACTION_FILE_BYTES`].
    #[error("transaction file of {len} bytes is longer than its limit of {MAX_TRANSACTION_FILE_BYTES}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The file is not what it should be.
    #[error("invalid {kind}: {problem}")]
    Transaction {
        /// What it should be.
        kind: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signature is not the wallet's signature of this transaction.
    #[error("the signature does not verify for this transaction and key")]
    Signature,
}

impl ChainError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Signature => Code::SignatureVerification,
            Self::Scheme { .. } | Self::Key | Self::TooLong { .. } | Self::Transaction { .. } => Code::MsgValidation,
        }
    }
}

/// The text of a file, within the limit and without surrounding blanks.
fn file_text<'a>(kind: &'static str, bytes: &'a [u8]) -> Result<&'a str, ChainError> {
    if bytes.len() > MAX_TRANSACTION_FILE_BYTES {
        return Err(ChainError::TooLong { len: bytes.len() });
    }
    std::str::from_utf8(bytes)
        .map(str::trim)
        .map_err(|_| ChainError::Transaction { kind, problem: "it is not UTF-8 text" })
}

fn expect_scheme(found: Scheme, wanted: Scheme) -> Result<(), ChainError> {
    if found == wanted { Ok(()) } else { Err(ChainError::Scheme { found, wanted }) }
}
