//! Why a run cannot even begin: the caller's parameters do not fit together.

use crate::error::Code;
use crate::ids::PartyIndex;
use crate::protocol::share::ShareError;

/// A run that was refused at its construction. None of this depends on what a peer sends during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// This party is not among the parties.
    #[error("this party takes no part in the session")]
    NotAParticipant,
    /// The parties are not exactly those that the protocol needs: 1 to n for key generation, t of 1 to n for signing,
    /// 1 and 2 for a pair setup.
    #[error("participants are not a committee of the key's threshold")]
    Committee,
    /// The share belongs to another party than the one that takes part.
    #[error("share is another party's")]
    WrongShare,
    /// No scheme is asked for.
    #[error("no scheme to make a key for")]
    NoScheme,
    /// The protocol does not serve the key's scheme.
    #[error("protocol does not serve keys of this scheme")]
    Scheme,
    /// The derived key is not derived from the share's key.
    #[error("derived key does not belong to the share")]
    WrongKey,
    /// A taproot tweak for a key that is no taproot key.
    #[error("only a taproot key is tweaked")]
    Tweak,
    /// There is no pair state for a signer (ECDSA only).
    #[error("there is no pair state for signer {0}")]
    MissingPair(PartyIndex),
    /// The message is longer than any that is signed.
    #[error("message is longer than 64 KiB")]
    MessageTooLong,
    /// The share is damaged.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl SetupError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Share(error) => error.code(),
            Self::MissingPair(_) => Code::PairMismatch,
            _ => Code::MsgValidation,
        }
    }
}
