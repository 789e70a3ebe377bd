//! Check-ups: proof that every member's share of a wallet still works, without a client's request.
//!
//! ```text
//!   asked, or due        sessions of t members, this node among them,
//!     wallet ──────────▶ until each member has been in one that signed ──▶ who works, and why the others do not
//! ```
//!
//! What is signed is the hash of the session's sheet under a domain of its own, so that a check-up's signature is of no
//! use for anything else; every participant makes it from the sheet by itself. No client need allow it, and nothing of it
//! is kept but when it was, and how it went.
//!
//! Where the operator wants it, the first ready member of each wallet checks it from time to time.

mod actor;
mod args;
mod coverage;
mod last;
mod peers;
mod rounds;
mod schedule;
#[cfg(test)]
mod tests;

pub use actor::{CheckupActor, CheckupMsg, CheckupSnapshot};
pub use args::CheckupArgs;
pub use last::LastCheckup;
pub(crate) use last::is_checkup;

use std::collections::BTreeMap;

use crate::error::Code;
use crate::ids::{ClusterId, Generation, NodeId, Scheme, SheetHash, WalletId};
use crate::wire::transcript::Transcript;

/// The domain of what check-ups sign.
const CHECKUP_DOMAIN: &str = "quorate/checkup/v1";

/// What came of a wallet's check-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedUp {
    /// The wallet.
    pub wallet: WalletId,
    /// Its keys.
    pub keys: Vec<CheckedKey>,
}

/// What came of a key's check-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedKey {
    /// The key's scheme.
    pub scheme: Scheme,
    /// Its generation.
    pub generation: Generation,
    /// Its members: `None` for one that has signed, otherwise why it has not.
    pub members: BTreeMap<NodeId, Option<Code>>,
}

impl CheckedUp {
    /// Whether every member of every key has signed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.keys.iter().all(|key| key.members.values().all(Option::is_none))
    }
}

/// What the session of a check-up signs. ECDSA and BIP-340 keys sign a 32-byte hash; an Ed25519 key signs the domain and
/// then the hash, which no transaction begins like.
fn checkup_message(cluster: &ClusterId, session: SheetHash, scheme: Scheme) -> Vec<u8> {
    let hash = Transcript::new(CHECKUP_DOMAIN).field(cluster.as_str().as_bytes()).field(&session.0).finish();
    match scheme {
        Scheme::Ed25519 => [CHECKUP_DOMAIN.as_bytes(), &hash].concat(),
        Scheme::Ecdsa | Scheme::Bip340 => hash.to_vec(),
    }
}
