//! Stable failure codes: what crosses to clients and peers instead of error text.
//!
//! Every layer has its own `thiserror` enum; each of its errors maps to one [`Code`]. Texts stay in the node's own log.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a request or a session failed. The text form never changes once it is released.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable text of the code.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// A peer could not be reached, or disappeared in mid-session.
    PeerUnavailable = "PEER_UNAVAILABLE",
    /// Fewer peers are ready than signers are needed. No session was created.
    NotMajority = "NOT_MAJORITY",
    /// Not all members of the committee are ready, and the operation needs all.
    ClusterNotReady = "CLUSTER_NOT_READY",
    /// The wallet, or its key for the scheme, does not exist here.
    KeyNotFound = "KEY_NOT_FOUND",
    /// The wallet id is taken.
    KeyAlreadyExists = "KEY_ALREADY_EXISTS",
    /// The wallet came back out of a backup on this node, and not enough of its other members have confirmed it yet.
    WalletQuarantined = "WALLET_QUARANTINED",
    /// The same request is running already.
    SessionDuplicate = "SESSION_DUPLICATE",
    /// The request id was used before, with other content. It stands for that content for ever.
    RequestConflict = "REQUEST_CONFLICT",
    /// The initiator's signature does not verify.
    InvalidInitiatorSignature = "INVALID_INITIATOR_SIGNATURE",
    /// An approval that policy requires is missing.
    MissingAuthorizerSignature = "MISSING_AUTHORIZER_SIGNATURE",
    /// An approval is present and does not verify.
    InvalidAuthorizerSignature = "INVALID_AUTHORIZER_SIGNATURE",
    /// The request does not parse.
    UnmarshalFailure = "UNMARSHAL_FAILURE",
    /// A field of the request or of a session sheet is out of its rules.
    MsgValidation = "MSG_VALIDATION",
    /// The deadline passed. The culprits are those still awaited.
    SessionTimeout = "SESSION_TIMEOUT",
    /// The session's sheet is out of date: its deadline has passed, or it names a generation that is gone.
    SessionStale = "SESSION_STALE",
    /// A participant sent what the protocol does not allow; it is the culprit.
    ProtocolViolation = "PROTOCOL_VIOLATION",
    /// Participants disagree on what was broadcast.
    Equivocation = "EQUIVOCATION",
    /// The two sides of a pair hold different epochs of their pair setup, or one holds none. Recoverable by a new one.
    PairMismatch = "PAIR_MISMATCH",
    /// A pair of nodes is banned from ECDSA until an operator lifts it.
    PairBanned = "PAIR_BANNED",
    /// The key generation failed.
    KeygenFailure = "KEYGEN_FAILURE",
    /// The reshare failed.
    ReshareFailure = "RESHARE_FAILURE",
    /// Another reshare of the wallet is at work, or one is not settled yet.
    ReshareInProgress = "RESHARE_IN_PROGRESS",
    /// A node does not take part in a refresh that nobody asked for: by its own schedule the wallet is not due.
    RefreshNotDue = "REFRESH_NOT_DUE",
    /// The wallet was destroyed. Its id stays taken.
    WalletDestroyed = "WALLET_DESTROYED",
    /// The policy of a node does not let wallets be destroyed.
    DestructionNotAllowed = "DESTRUCTION_NOT_ALLOWED",
    /// The signing run failed.
    SigningFailure = "SIGNING_FAILURE",
    /// The signature that came out does not verify. It has not left the node.
    SignatureVerification = "SIGNATURE_VERIFICATION",
    /// The local store failed to read.
    StorageRead = "STORAGE_READ",
    /// The local store failed to write.
    StorageWrite = "STORAGE_WRITE",
    /// A stored record does not open: it was altered or is damaged.
    DataCorruption = "DATA_CORRUPTION",
    /// Too much is running or waiting; try again later.
    ConcurrencyLimit = "CONCURRENCY_LIMIT",
    /// The node is stopping, or the session was stopped with its supervisor.
    Cancelled = "CANCELLED",
    /// Another coordinator's session for the same request took over.
    Superseded = "SUPERSEDED",
    /// The node failed in a way that has no code of its own; its log says more.
    Internal = "INTERNAL",
}

impl Code {
    /// Whether the same request may succeed if it is sent again, without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::PeerUnavailable
                | Self::NotMajority
                | Self::ClusterNotReady
                | Self::WalletQuarantined
                | Self::SessionTimeout
                | Self::PairMismatch
                | Self::ConcurrencyLimit
                | Self::Cancelled
                | Self::Superseded
                | Self::ReshareInProgress
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request's end without a result, as its client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Failure {
    /// What clients branch on.
    pub code: Code,
    /// The same for people; it names no secret and no internal of a peer.
    pub reason: String,
    /// The nodes to blame, as far as can be told.
    pub culprits: BTreeSet<NodeId>,
}

impl Failure {
    /// A failure that is nobody's.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), culprits: BTreeSet::new() }
    }

    /// A wallet was restored on this node, and nobody has confirmed yet that nothing newer is known of it.
    pub(crate) fn quarantined() -> Self {
        let reason = "the wallet was restored on this node, and is not confirmed by its other members yet";
        Self::new(Code::WalletQuarantined, reason)
    }
}
