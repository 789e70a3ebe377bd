//! What the two ends of a link say to each other, besides what their nodes say.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, NodeId};
use crate::transport::noise::Plaintext;
use crate::wire::codec::{self, CodecError};
use crate::wire::message::{MAX_LISTED_NODES, MAX_PEER_MESSAGE_BYTES, PeerMessage};

/// The longest encoded control message, in bytes: a heartbeat that lists [`MAX_LISTED_PAIRS`].
const MAX_CONTROL_BYTES: usize = 1840;
/// The most pair setups that a heartbeat lists: two for each peer.
const MAX_LISTED_PAIRS: usize = 2 * (MAX_LISTED_NODES - 1);

/// What a node says about itself with every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it takes part in sessions.
    pub serving: bool,
    /// The peers that it holds pair setups with, and the setups' epochs: at most two for each peer, the later one last.
    pub pairs: Vec<(NodeId, Epoch)>,
}

/// A message between the links themselves.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// I am here.
    Beat(Beat),
    /// I end this link.
    Goodbye,
}

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// Counts the sender's beats in this life of its link, from 1.
    pub(crate) sequence: u64,
    /// The highest sequence that it has heard from the receiver, or 0: what acknowledges the receiver's beats.
    pub(crate) heard: u64,
    /// Whether it answers a beat at once. Those that do are not answered.
    pub(crate) answer: bool,
    /// What the sender says about itself.
    pub(crate) readiness: Readiness,
}

impl Control {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, MAX_CONTROL_BYTES)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let control: Self = codec::decode(bytes, MAX_CONTROL_BYTES)?;
        match &control {
            Self::Beat(beat) if beat.readiness.pairs.len() > MAX_LISTED_PAIRS => Err(CodecError::Malformed),
            Self::Beat(_) | Self::Goodbye => Ok(control),
        }
    }
}

/// Encodes a message between nodes, which may hold secret shares.
pub(crate) fn encode_message(message: &PeerMessage) -> Result<Plaintext, CodecError> {
    codec::encode_secret_behind(Plaintext::ROOM, message, MAX_PEER_MESSAGE_BYTES).map(Plaintext::behind_room)
}

/// Decodes a message between nodes.
pub(crate) fn decode_message(bytes: &[u8]) -> Result<PeerMessage, CodecError> {
    codec::decode(bytes, MAX_PEER_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::transport::credit::SMALL_FRAME_BYTES;

    fn beat(pairs: usize) -> Control {
        let pairs = (0..pairs).map(|i| (NodeId(Uuid::from_u128(i as u128)), Epoch(u64::MAX))).collect();
        let readiness = Readiness { serving: true, pairs };
        Control::Beat(Beat { sequence: u64::MAX, heard: u64::MAX, answer: true, readiness })
    }

    #[test]
    fn beat__should_fit_the_reserve_however_full() {
        let bytes = beat(MAX_LISTED_PAIRS).encode().unwrap();
        assert_eq!(Control::decode(&bytes).unwrap(), beat(MAX_LISTED_PAIRS));
        assert!(bytes.len() + 200 < SMALL_FRAME_BYTES, "{} bytes", bytes.len());
    }

    #[test]
    fn beat__should_not_list_more_nodes_than_there_can_be() {
        let bytes = rmp_serde::to_vec_named(&beat(MAX_LISTED_PAIRS + 1)).unwrap();
        assert!(Control::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn control__should_survive_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Control::decode(&bytes);
            let _ = decode_message(&bytes);
        }
    }
}
