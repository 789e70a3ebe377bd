//! The names of things: domain types that every layer shares.
//!
//! Each is parsed once, at the edge, and trusted by its type after. A value of one of these types is always within
//! the limits stated on it, whatever it was decoded from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A value that does not satisfy the rules of the type it should become.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {problem}")]
pub struct InvalidId {
    /// What was being parsed, in words.
    pub what: &'static str,
    /// What is wrong with it. Never repeats the input, which may be hostile.
    pub problem: &'static str,
}

/// A text identifier: UTF-8, between 1 and a maximal number of bytes, checked at every construction.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, max $max:expr, $accepts:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest accepted identifier, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let problem = if text.is_empty() {
                    "it is empty"
                } else if text.len() > Self::MAX_BYTES {
                    concat!("it is longer than ", stringify!($max), " bytes")
                } else if !text.chars().all($accepts) {
                    $rule
                } else {
                    return Ok(Self(text));
                };
                Err(InvalidId { what: $what, problem })
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// Names a wallet: one key per scheme. Single use: the id of a wallet that exists is never given again.
    ///
    /// Visible ASCII without `*` and `>`, which are wild cards in broker subjects.
    WalletId, "wallet id", max 128,
    |c| c.is_ascii_graphic() && c != '*' && c != '>',
    "it may hold visible ASCII characters only, without '*' and '>'"
}

text_id! {
    /// The client's name for one request (mpcium: `tx_id`). Within a wallet it stands for one content for ever.
    RequestId, "request id", max 256,
    |c| !c.is_control(),
    "it holds a control character"
}

text_id! {
    /// A node's name in the peer book, as operators call it.
    NodeName, "node name", max 64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
    "it may hold ASCII letters, digits, '-', '_' and '.' only"
}

text_id! {
    /// The cluster a node belongs to. Bound into every sheet and link, so that two clusters on one broker never mix.
    ClusterId, "cluster id", max 64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'),
    "it may hold ASCII letters, digits, '-' and '_' only"
}

/// A node's permanent identifier: the UUID of the peer book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub Uuid);

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidId { what: "node id", problem: "it is not a UUID" })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A 32-byte identifier that prints as hex and encodes as a byte string.
macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "serde_bytes")] pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(&self.0[..8]))
            }
        }
    };
}

hash_id! {
    /// 32 random bytes that the coordinator draws for one session.
    SessionId
}

hash_id! {
    /// SHA-256 of a session sheet: what every message of the session is bound to, and the protocol's session id.
    SheetHash
}

/// A party's index within a committee, and its evaluation point: 1 to 255, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct PartyIndex(std::num::NonZeroU8);

impl PartyIndex {
    /// The index as a number, 1 to 255.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl TryFrom<u8> for PartyIndex {
    type Error = InvalidId;

    fn try_from(index: u8) -> Result<Self, InvalidId> {
        std::num::NonZeroU8::new(index).map(Self).ok_or(InvalidId { what: "party index", problem: "it is zero" })
    }
}

impl From<PartyIndex> for u8 {
    fn from(index: PartyIndex) -> Self {
        index.get()
    }
}

impl fmt::Display for PartyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the reshares and refreshes of one key, from 0. Shares of different generations never mix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u32);

/// Counts the pair setups of one pair of nodes, from 1. Both sides must hold the same epoch to sign together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A signature scheme, and thereby the key that makes it: a wallet has one key per scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// ECDSA on secp256k1: Bitcoin (legacy and SegWit v0), Ethereum and EVM chains.
    #[serde(rename = "secp256k1")]
    Ecdsa,
    /// Ed25519 (RFC 8032): Solana, Polkadot, Cardano.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// BIP-340 Schnorr on secp256k1: Taproot.
    #[serde(rename = "taproot")]
    Bip340,
}

impl Scheme {
    /// Every scheme, in the order in which they are always listed.
    pub const ALL: [Self; 3] = [Self::Ecdsa, Self::Ed25519, Self::Bip340];

    /// The name on the wire (mpcium: `key_type`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "secp256k1",
            Self::Ed25519 => "ed25519",
            Self::Bip340 => "taproot",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scheme {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.as_str() == text)
            .ok_or(InvalidId { what: "key type", problem: "it is none of secp256k1, ed25519, taproot" })
    }
}

/// How many parties must sign, of how many: `2 <= t <= n <= 32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Threshold {
    signers: u8,
    parties: u8,
}

impl Threshold {
    /// The largest committee.
    pub const MAX_PARTIES: u8 = 32;

    /// `signers` must sign, of `parties`.
    ///
    /// # Errors
    /// When not `2 <= signers <= parties <= 32`.
    pub const fn new(signers: u8, parties: u8) -> Result<Self, InvalidId> {
        let problem = if signers < 2 {
            "fewer than 2 signers"
        } else if signers > parties {
            "more signers than parties"
        } else if parties > Self::MAX_PARTIES {
            "more than 32 parties"
        } else {
            return Ok(Self { signers, parties });
        };
        Err(InvalidId { what: "threshold", problem })
    }

    /// t: the number of signers.
    #[must_use]
    pub const fn signers(self) -> u8 {
        self.signers
    }

    /// n: the size of the committee.
    #[must_use]
    pub const fn parties(self) -> u8 {
        self.parties
    }

    /// Whether any two quorums share a party (`t >= floor(n/2) + 1`), so that no two disjoint quorums can answer one
    /// request differently.
    #[must_use]
    pub const fn is_majority(self) -> bool {
        self.signers > self.parties / 2
    }
}

impl TryFrom<(u8, u8)> for Threshold {
    type Error = InvalidId;

    fn try_from((signers, parties): (u8, u8)) -> Result<Self, InvalidId> {
        Self::new(signers, parties)
    }
}

impl From<Threshold> for (u8, u8) {
    fn from(threshold: Threshold) -> Self {
        (threshold.signers, threshold.parties)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.signers, self.parties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ids__should_enforce_length_and_alphabet() {
        assert!("wallet-1:x".parse::<WalletId>().is_ok());
        for bad in ["", "a b", "a>b", "a*b", "ü", &"x".repeat(129)] {
            assert!(bad.parse::<WalletId>().is_err(), "{bad:?}");
        }
        assert!("ü b".parse::<RequestId>().is_ok());
        assert!("a\nb".parse::<RequestId>().is_err());
    }

    #[test]
    fn ids__should_be_checked_when_decoded() {
        assert!(serde_json::from_str::<WalletId>("\"\"").is_err());
        assert!(serde_json::from_str::<PartyIndex>("0").is_err());
        assert!(serde_json::from_str::<Threshold>("[1,3]").is_err());
        assert!(serde_json::from_str::<Threshold>("[2,3]").is_ok());
    }

    #[test]
    fn threshold__should_accept_exactly_two_to_n() {
        for (t, n, ok) in [(0, 3, false), (1, 3, false), (2, 2, true), (3, 2, false), (2, 32, true), (2, 33, false)] {
            assert_eq!(Threshold::new(t, n).is_ok(), ok, "{t}-of-{n}");
        }
        assert!(Threshold::new(2, 3).unwrap().is_majority());
        assert!(!Threshold::new(2, 4).unwrap().is_majority());
    }
}
