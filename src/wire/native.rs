//! The native client API: requests over NATS that are answered directly, in JSON.
//!
//! A request is published to `quorate.<cluster>.v1.<operation>` with a reply subject. One node answers, except for
//! `status`, to which all do. A node that does not hold the wallet hands the request on to one that does. At
//! `quorate.<cluster>.v1.at.<node>.<operation>` that node answers, and none else.
//!
//! | operation | request | answer |
//! |---|---|---|
//! | `keygen` | a signed keygen request, see [`KeygenRequest`](crate::wire::request::KeygenRequest) | [`Wallet`] |
//! | `sign` | a signed signing request, see [`SignRequest`](crate::wire::request::SignRequest) | [`Signed`] |
//! | `reshare` | a signed reshare request, see [`ReshareRequest`](crate::wire::request::ReshareRequest) | [`Wallet`] |
//! | `checkup` | [`WalletQuery`] | [`Checkup`] |
//! | `destroy` | a signed request to destroy a wallet, see [`DestroyRequest`](crate::wire::request::DestroyRequest) | [`Destruction`] |
//! | `certificate` | [`WalletQuery`] | [`Destruction`] |
//! | `wallet` | [`WalletQuery`] | [`Wallet`] |
//! | `derive` | [`DeriveQuery`] | [`DerivedKey`] |
//! | `status` | nothing | [`NodeStatus`] |
//!
//! An answer is `{"ok": …}` or `{"error": …}`. Bytes are hex. Whoever may publish to these subjects may ask for wallets'
//! public keys; who may is the broker's business.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Failure};
use crate::ids::{ClusterId, NodeId, RequestId, Scheme, WalletId};
use crate::keys::Signature;

/// The longest answer, in bytes of JSON.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make a wallet.
    Keygen,
    /// Sign.
    Sign,
    /// Deal keys of a wallet anew.
    Reshare,
    /// Check that the shares of all members of a wallet work.
    Checkup,
    /// Destroy a wallet.
    Destroy,
    /// The certificate of a wallet's destruction.
    Certificate,
    /// What a wallet is.
    Wallet,
    /// A child key and its addresses.
    Derive,
    /// How a node is. All nodes answer.
    Status,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 9] = [
        Self::Keygen,
        Self::Sign,
        Self::Reshare,
        Self::Checkup,
        Self::Destroy,
        Self::Certificate,
        Self::Wallet,
        Self::Derive,
        Self::Status,
    ];

    /// The last token of its subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keygen => "keygen",
            Self::Sign => "sign",
            Self::Reshare => "reshare",
            Self::Checkup => "checkup",
            Self::Destroy => "destroy",
            Self::Certificate => "certificate",
            Self::Wallet => "wallet",
            Self::Derive => "derive",
            Self::Status => "status",
        }
    }

    /// Its subject in a cluster.
    #[must_use]
    pub fn subject(self, cluster: &ClusterId) -> String {
        format!("quorate.{cluster}.v1.{}", self.as_str())
    }

    /// Its subject at one node, which answers by itself.
    #[must_use]
    pub fn subject_at(self, cluster: &ClusterId, node: NodeId) -> String {
        format!("quorate.{cluster}.v1.at.{node}.{}", self.as_str())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<T> {
    /// What was asked for.
    #[serde(rename = "ok")]
    Ok(T),
    /// Why not.
    #[serde(rename = "error")]
    Error(Refused),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What programs branch on.
    pub code: Code,
    /// The same for people.
    pub reason: String,
    /// The nodes to blame, as far as can be told.
    pub culprits: Vec<NodeId>,
    /// Whether the same request may succeed if it is sent again.
    pub retryable: bool,
}

impl<T: DeserializeOwned> Answer<T> {
    /// Reads an answer; `None` where it is none, or longer than [`MAX_ANSWER_BYTES`].
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        if payload.len() > MAX_ANSWER_BYTES {
            return None;
        }
        serde_json::from_slice(payload).ok()
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let Failure { code, reason, culprits } = failure;
        Self { retryable: code.is_retryable(), code, reason, culprits: culprits.into_iter().collect() }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self { code: refused.code, reason: refused.reason, culprits: refused.culprits.into_iter().collect() }
    }
}

impl<T> From<Result<T, Failure>> for Answer<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(answer) => Self::Ok(answer),
            Err(failure) => Self::Error(failure.into()),
        }
    }
}

impl<T> From<Answer<T>> for Result<T, Failure> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Ok(answer) => Ok(answer),
            Answer::Error(refused) => Err(refused.into()),
        }
    }
}

/// Asks what a wallet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletQuery {
    /// The wallet.
    pub wallet_id: WalletId,
}

/// Asks for a child key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeriveQuery {
    /// The wallet.
    pub wallet_id: WalletId,
    /// Which of its keys.
    pub key_type: Scheme,
    /// Non-hardened indices, from the wallet's key down; empty for that key itself.
    #[serde(default)]
    pub derivation_path: Vec<u32>,
}

/// A wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    /// Its name.
    pub wallet_id: WalletId,
    /// Whether this request made it, or reshared it; otherwise that was done before.
    pub fresh: bool,
    /// The session that made it, or reshared it last, 32 bytes.
    pub session: String,
    /// Its keys, one per scheme.
    pub keys: Vec<Key>,
}

/// A wallet that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destruction {
    /// Its name, which stays taken.
    pub wallet_id: WalletId,
    /// Whether all its members have stated that they hold no share any more.
    pub complete: bool,
    /// The members that have not, because they are away or do not allow it. They are told as soon as they are back.
    pub missing: Vec<NodeId>,
    /// The certificate, encoded, in base64: see
    /// [`DestructionCertificate`](crate::wallet::DestructionCertificate::decode).
    pub certificate: String,
}

/// One key of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What it signs.
    pub key_type: Scheme,
    /// secp256k1 and taproot: 33 bytes, compressed. Ed25519: 32 bytes.
    pub public_key: String,
    /// How many nodes must sign.
    pub threshold: u8,
    /// Its generation.
    pub generation: u32,
    /// Who holds its shares.
    pub committee: Vec<NodeId>,
    /// Where it receives, by chain.
    pub addresses: BTreeMap<String, String>,
}

/// A child key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedKey {
    /// The wallet.
    pub wallet_id: WalletId,
    /// What it signs.
    pub key_type: Scheme,
    /// How it is derived.
    pub derivation_path: Vec<u32>,
    /// As in [`Key`].
    pub public_key: String,
    /// Where it receives, by chain.
    pub addresses: BTreeMap<String, String>,
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The wallet.
    pub wallet_id: WalletId,
    /// The client's name of the request.
    pub tx_id: RequestId,
    /// What signed.
    pub key_type: Scheme,
    /// The key that it verifies under, as in [`Key`]; a taproot tweak is not applied to it.
    pub public_key: String,
    /// 64 bytes. ECDSA: r then s.
    pub signature: String,
    /// ECDSA: 0 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<u8>,
    /// The session that made it, 32 bytes; absent if the same request was answered before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Signed {
    /// The signature itself. It is not verified here.
    ///
    /// # Errors
    /// [`Code::UnmarshalFailure`] when this is not how a signature is written.
    pub fn to_signature(&self) -> Result<Signature, Failure> {
        let malformed = || Failure::new(Code::UnmarshalFailure, "the answer is no signature");
        let mut bytes = [0; 64];
        hex::decode_to_slice(&self.signature, &mut bytes).map_err(|_| malformed())?;
        match (self.key_type, self.recovery) {
            (Scheme::Ecdsa, Some(recovery @ 0..=3)) => {
                let (mut r, mut s) = ([0; 32], [0; 32]);
                r.copy_from_slice(&bytes[..32]);
                s.copy_from_slice(&bytes[32..]);
                Ok(Signature::Ecdsa { r, s, recovery })
            }
            (Scheme::Ed25519, None) => Ok(Signature::Ed25519(bytes)),
            (Scheme::Bip340, None) => Ok(Signature::Bip340(bytes)),
            _ => Err(malformed()),
        }
    }
}

/// What came of a wallet's check-up: whether the share of every member of every key works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// The wallet.
    pub wallet_id: WalletId,
    /// Whether all of them do.
    pub good: bool,
    /// The keys.
    pub keys: Vec<CheckedKey>,
}

/// A key that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedKey {
    /// What signs with it.
    pub key_type: Scheme,
    /// How often it was reshared or refreshed.
    pub generation: u32,
    /// Its members.
    pub members: Vec<CheckedMember>,
}

/// A member of a key that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedMember {
    /// The node.
    pub node_id: NodeId,
    /// Why its share did not sign; absent where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Code>,
}

/// Whether the cluster can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Every node of the peer book is ready.
    All,
    /// Enough are ready to sign, not all.
    Enough,
    /// Fewer are ready than must sign.
    TooFew,
}

/// A node, as it sees itself and the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who says so.
    pub node_id: NodeId,
    /// Its name in the peer book.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// Whether the cluster can work, seen from here.
    pub health: Health,
    /// How many nodes must sign with a new wallet.
    pub threshold: u8,
    /// How many nodes there are.
    pub parties: u8,
    /// The other nodes.
    pub peers: Vec<PeerReport>,
    /// What its process has used, where the operating system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessReport>,
}

/// What one node says of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The other node.
    pub node_id: NodeId,
    /// Its name in the peer book.
    pub name: String,
    /// Whether it takes part in sessions now.
    pub ready: bool,
    /// Whether its lease is alive.
    pub leased: bool,
    /// Whether the link to it is up.
    pub linked: bool,
    /// Whether the two can sign ECDSA together.
    pub paired: bool,
    /// The last round trip on the link.
    pub rtt_ms: Option<f64>,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// CPU time since its start.
    pub cpu_seconds: f64,
    /// Memory now.
    pub resident_bytes: u64,
    /// The most memory it ever had.
    pub peak_resident_bytes: u64,
}
