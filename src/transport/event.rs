//! What the transport tells and is told: the types at its border.

use std::sync::Arc;
use std::time::Duration;

use super::credit::Credit;
use super::link::Readiness;
use crate::error::Code;
use crate::ids::NodeId;
use crate::supervision::{Deliver, Unavailable};
use crate::wire::message::{PeerMessage, Service};

/// A message of a peer, authenticated by its link.
#[derive(Debug)]
pub struct Inbound {
    /// The peer.
    pub from: NodeId,
    /// What it says.
    pub message: PeerMessage,
    /// The room that the message takes in its link's budget: drop it when done with the message.
    pub credit: Credit,
}

/// What becomes of the link to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// It is up: both directions are proven.
    Up {
        /// The peer.
        peer: NodeId,
        /// The round-trip time of its handshake.
        rtt: Duration,
    },
    /// It is down. Comes once for every `Up`, and once more for every message sent while it was down: whoever waits for
    /// the peer waits in vain.
    Down {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// What the peer says about itself: when that changes, and once per heartbeat, so that a listener that lost its state
    /// has it again soon. Only while the link is up.
    Readiness {
        /// The peer.
        peer: NodeId,
        /// What it says.
        readiness: Readiness,
        /// The smoothed round-trip time.
        rtt: Duration,
    },
}

/// Why a link is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The peer acknowledged nothing for too long.
    #[error("the peer is silent")]
    Silent,
    /// Nobody listens at the peer's inbox.
    #[error("the peer is not subscribed")]
    NoResponders,
    /// The peer ended the link.
    #[error("the peer said goodbye")]
    Goodbye,
    /// The peer sent what no correct node sends.
    #[error("the peer sent a malformed message")]
    Violation,
    /// The peer has started anew.
    #[error("the peer restarted")]
    PeerRestarted,
    /// The connection to the broker is lost.
    #[error("the broker is not connected")]
    BrokerLost,
    /// The broker refuses our messages.
    #[error("the broker refused a message")]
    BrokerRefused,
    /// The broker takes too long to take our messages.
    #[error("too many messages wait for the broker")]
    Stalled,
    /// The keys were not replaced in time.
    #[error("the link's keys expired")]
    KeysExpired,
    /// The cryptographic engine failed on our own side.
    #[error("failed to seal or to shake hands")]
    Engine,
    /// The link's actor panicked, or was killed.
    #[error("the link crashed")]
    Crashed,
    /// This node's transport stopped or crashed.
    #[error("the transport stopped")]
    Stopped,
    /// A message was sent while the link was down.
    #[error("the link is not up")]
    NotUp,
}

impl DownReason {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::PeerUnavailable
    }

    /// Whether the peer may still believe in the link.
    pub(super) const fn is_news_to_peer(self) -> bool {
        matches!(
            self,
            Self::Silent | Self::Violation | Self::PeerRestarted | Self::KeysExpired | Self::Engine | Self::Stalled
        )
    }
}

/// Who gets the messages of peers.
#[derive(Clone)]
pub struct Services {
    /// Key generation.
    pub keygen: Arc<dyn Deliver<Inbound>>,
    /// Signing.
    pub signing: Arc<dyn Deliver<Inbound>>,
    /// Pair setup.
    pub pairing: Arc<dyn Deliver<Inbound>>,
    /// Resharing.
    pub reshare: Arc<dyn Deliver<Inbound>>,
    /// Check-ups.
    pub checkup: Arc<dyn Deliver<Inbound>>,
    /// Destructions of wallets.
    pub destruction: Arc<dyn Deliver<Inbound>>,
}

impl Services {
    pub(super) fn deliver(&self, inbound: Inbound) -> Result<(), Unavailable> {
        let service = match &inbound.message {
            PeerMessage::Session { service: Service::Keygen, .. }
            | PeerMessage::KeygenQuery { .. }
            | PeerMessage::KeygenReply { .. } => &self.keygen,
            PeerMessage::Session { service: Service::Signing, .. }
            | PeerMessage::SigningQuery { .. }
            | PeerMessage::SigningReply { .. } => &self.signing,
            PeerMessage::Session { service: Service::Pairing, .. } => &self.pairing,
            PeerMessage::Session { service: Service::Reshare | Service::Proof, .. }
            | PeerMessage::ReshareQuery { .. }
            | PeerMessage::ReshareReply { .. }
            | PeerMessage::Reshared { .. }
            | PeerMessage::KnowsReshared { .. } => &self.reshare,
            PeerMessage::Session { service: Service::Checkup, .. } => &self.checkup,
            PeerMessage::Destroyed { .. } | PeerMessage::DestroyedQuery { .. } => &self.destruction,
        };
        service.deliver(inbound)
    }
}
