//! Stable failure codes: what crosses to clients and peers instead of error text.
//!
//! Every layer has its own `thiserror` enum; each of its errors maps to one [`Code`]. Texts stay in the node's own log.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a request or a session failed. The text form never changes once it is released; with `ERROR_` before it,
        /// it is the code of the mpcium client protocol.
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
    /// The same request is running already, or its id was used with other content.
    SessionDuplicate = "SESSION_DUPLICATE",
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
    ProtocolViolation = "MESSAGE_VERIFICATION",
    /// Participants disagree on what was broadcast.
    Equivocation = "MESSAGE_ROUTING",
    /// The two sides of a pair hold different epochs of their pair setup, or one holds none. Recoverable by a new one.
    PairMismatch = "INCOMPATIBLE_PEER_IDS",
    /// A pair of nodes is banned from ECDSA until an operator lifts it.
    PairBanned = "PEER_NOT_READY",
    /// The key generation failed.
    KeygenFailure = "KEYGEN_FAILURE",
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
    Cancelled = "CONTEXT_CANCELLED",
    /// Another coordinator's session for the same request took over.
    Superseded = "OPERATION_ABORTED",
    /// The node failed in a way that has no code of its own; its log says more.
    Internal = "UNKNOWN",
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
                | Self::SessionTimeout
                | Self::PairMismatch
                | Self::ConcurrencyLimit
                | Self::Cancelled
                | Self::Superseded
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
