//! What one node says to another inside a link: the plaintext of a link's records.
//!
//! The sender is never a field: it is the authenticated peer of the link that the message came out of.

use serde::{Deserialize, Serialize};

use crate::error::Code;
use crate::ids::{NodeId, PartyIndex, RequestId, SheetHash, WalletId};
use crate::keys::Signature;
use crate::secret::SecretBuffer;

/// The longest encoded peer message, in bytes: a pair setup's largest message is under 160 KiB, a sheet under 200 KiB.
pub const MAX_PEER_MESSAGE_BYTES: usize = 256 * 1024;
/// The most culprits, or peers, that a message lists.
pub const MAX_LISTED_NODES: usize = 32;

/// The most wallets that are asked about at a time.
pub const MAX_QUERIED_WALLETS: usize = 512;

/// The actor on the other side that a session message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Service {
    /// Key generation.
    Keygen,
    /// Signing.
    Signing,
    /// Pair setup.
    Pairing,
    /// Resharing.
    Reshare,
    /// The proofs of reshared keys.
    Proof,
    /// Check-ups.
    Checkup,
}

/// A message between two nodes.
#[derive(Debug, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Part of a session.
    Session {
        /// Who handles it.
        service: Service,
        /// The session, named by its sheet.
        session: SheetHash,
        /// What is said.
        body: SessionBody,
    },
    /// What became of a key generation that I hold a pending share of?
    KeygenQuery {
        /// The wallet.
        wallet: WalletId,
        /// Its session, as the pending record names it.
        session: SheetHash,
    },
    /// The answer to a [`PeerMessage::KeygenQuery`].
    KeygenReply {
        /// The wallet asked about.
        wallet: WalletId,
        /// The session asked about.
        session: SheetHash,
        /// What this node knows.
        outcome: PendingOutcome,
    },
    /// What became of a reshare that I hold pending?
    ReshareQuery {
        /// The wallet.
        wallet: WalletId,
        /// Its session, as the pending record names it.
        session: SheetHash,
    },
    /// The answer to a [`PeerMessage::ReshareQuery`].
    ReshareReply {
        /// The wallet asked about.
        wallet: WalletId,
        /// The session asked about.
        session: SheetHash,
        /// What this node knows.
        outcome: PendingOutcome,
    },
    /// A wallet was reshared: this is its certificate.
    Reshared {
        /// The wallet.
        wallet: WalletId,
        /// Its certificate, encoded.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
    },
    /// The sender knows of a reshare, and needs not be told any more.
    KnowsReshared {
        /// The wallet.
        wallet: WalletId,
        /// The reshare, as the wallet's record names it.
        session: SheetHash,
    },
    /// A wallet was destroyed: this is its certificate of destruction, which carries the request. Whoever gets it erases its
    /// shares and adds its statement.
    Destroyed {
        /// The wallet.
        wallet: WalletId,
        /// The certificate as the sender has it, encoded.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
        /// Whether the sender asks for the receiver's own.
        ask: bool,
    },
    /// Was one of these wallets destroyed? Whoever knows of one says so; of others nothing is said.
    DestroyedQuery {
        /// The wallets, at most [`MAX_QUERIED_WALLETS`].
        wallets: Vec<WalletId>,
    },
    /// What became of a signing session whose answer I never had?
    SigningQuery {
        /// The wallet.
        wallet: WalletId,
        /// The request that the session was to answer.
        request: RequestId,
        /// The hash of its content.
        #[serde(with = "serde_bytes")]
        content: [u8; 32],
        /// The session, which is over for the sender.
        session: SheetHash,
    },
    /// The answer to a [`PeerMessage::SigningQuery`].
    SigningReply {
        /// The session asked about.
        session: SheetHash,
        /// What this node knows.
        outcome: SigningOutcome,
    },
}

/// What is said within a session.
#[derive(Debug, Serialize, Deserialize)]
pub enum SessionBody {
    /// The coordinator proposes a session. Taking part means answering with the messages of the first round.
    Propose {
        /// The encoded sheet.
        #[serde(with = "serde_bytes")]
        sheet: Vec<u8>,
        /// The coordinator's Ed25519 signature of the sheet.
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
    },
    /// A message of the protocol.
    Round {
        /// The round, from 1.
        round: u8,
        /// The one party it is for, or everybody.
        to: Option<PartyIndex>,
        /// The engine's bytes. Some rounds carry secret shares.
        payload: SecretPayload,
        /// The sender's Ed25519 signature over session, round, sender, recipient and payload.
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
    },
    /// A participant does not take part.
    Refuse {
        /// Why.
        code: Code,
        /// The signature that this request got earlier, where that is why.
        answer: Option<Signature>,
    },
    /// A participant ended the session.
    Abort {
        /// Why.
        code: Code,
        /// Who did it, as far as it can tell; at most [`MAX_LISTED_NODES`].
        culprits: Vec<NodeId>,
        /// In which round.
        round: u8,
    },
    /// Key generation and resharing: what the sender must keep is durable, and this is its Ed25519 signature of the wallet
    /// record.
    RecordSigned {
        /// The signature.
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
    },
}

impl SessionBody {
    /// What the others of a session are told when it, or its supervisor, failed on `me`: it is out, through nobody
    /// else's doing.
    #[must_use]
    pub fn abandoned(me: NodeId) -> Self {
        Self::Abort { code: Code::Cancelled, culprits: vec![me], round: 0 }
    }
}

/// What a node knows about a key generation, or a reshare, that another holds pending.
#[derive(Debug, Serialize, Deserialize)]
pub enum PendingOutcome {
    /// All signed: here is the certificate, encoded.
    Certified(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It holds it pending too, and has no certificate. Its own signature of the wallet record helps to make one.
    Pending(#[serde(with = "serde_bytes")] [u8; 64]),
    /// The session still runs there.
    Running,
    /// It holds nothing of that session and never will.
    Absent,
    /// As [`PendingOutcome::Certified`], but its store came out of a backup: whether this is the latest, it has to be told
    /// itself.
    Unconfirmed(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What a node knows about a signing session.
#[derive(Debug, Serialize, Deserialize)]
pub enum SigningOutcome {
    /// Its request has this answer.
    Answered(Signature),
    /// It is at work on it, or cannot tell at present.
    Running,
    /// The session is over there and made no signature, nor will it ever.
    Closed,
}

/// Payload bytes that are wiped when dropped and never printed.
#[derive(Clone)]
pub struct SecretPayload(pub SecretBuffer);

impl std::fmt::Debug for SecretPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretPayload({} bytes)", self.0.len())
    }
}

impl Serialize for SecretPayload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretPayload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Self(bytes.into_vec().into()))
    }
}
