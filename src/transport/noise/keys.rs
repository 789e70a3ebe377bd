//! The long-term keys of one link.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;

use crate::ids::{ClusterId, NodeId};
use crate::secret::SecretBytes;
use crate::transport::noise::NoiseError;

/// Names the protocol and its version within every handshake.
const PROLOGUE: &[u8] = b"quorate/link/v1";

/// Who starts the handshakes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The node with the lower id.
    Initiator,
    /// The other.
    Responder,
}

/// What both sides of a link know before its first handshake: the static keys, and what they are for.
///
/// The X25519 keys are the Ed25519 identities under the birational map of RFC 7748, section 4.1; that both may be used
/// side by side is shown in IACR ePrint 2021/509.
pub struct LinkKeys {
    role: Role,
    secret: Arc<SecretBytes>,
    peer: [u8; 32],
    /// Protocol, cluster, initiator, responder. Each part has a fixed length or its length before it.
    context: Vec<u8>,
}

impl LinkKeys {
    /// The keys of the link between `me` and `peer`. `secret` is the X25519 private key of this node's identity, 32 bytes:
    /// the scalar of its Ed25519 key. `peer_key` is the peer's Ed25519 key as the peer book has it.
    ///
    /// # Errors
    /// [`NoiseError::WeakKey`] when the peer's key has a small order, [`NoiseError::NotAPair`] when the nodes are one,
    /// [`NoiseError::Engine`] when the secret has another length.
    pub fn new(
        secret: &Arc<SecretBytes>,
        cluster: &ClusterId,
        me: NodeId,
        peer: NodeId,
        peer_key: &VerifyingKey,
    ) -> Result<Self, NoiseError> {
        let role = match me.cmp(&peer) {
            std::cmp::Ordering::Less => Role::Initiator,
            std::cmp::Ordering::Greater => Role::Responder,
            std::cmp::Ordering::Equal => return Err(NoiseError::NotAPair),
        };
        if secret.len() != 32 {
            return Err(NoiseError::Engine);
        }
        if peer_key.is_weak() {
            return Err(NoiseError::WeakKey);
        }
        let (initiator, responder) = (me.min(peer), me.max(peer));
        let mut context = PROLOGUE.to_vec();
        context.extend_from_slice(&(cluster.as_str().len() as u64).to_be_bytes());
        context.extend_from_slice(cluster.as_str().as_bytes());
        context.extend_from_slice(initiator.0.as_bytes());
        context.extend_from_slice(responder.0.as_bytes());
        Ok(Self { role, secret: Arc::clone(secret), peer: peer_key.to_montgomery().to_bytes(), context })
    }

    /// This node's part in the handshakes.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.secret.expose()
    }

    pub(super) fn peer(&self) -> &[u8] {
        &self.peer
    }

    /// What a handshake with this link id is bound to.
    pub(super) fn prologue(&self, link: u64) -> Vec<u8> {
        let mut prologue = self.context.clone();
        prologue.extend_from_slice(&link.to_be_bytes());
        prologue
    }
}
