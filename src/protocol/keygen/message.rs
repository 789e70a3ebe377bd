//! What the parties of a key generation send.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::ids::Scheme;
use crate::protocol::echo::Table;
use crate::wire::message::SecretPayload;

/// The largest payload, in bytes: a reveal of three schemes with 32 coefficients each (3.5 KiB) and a table of 32 digests
/// (1.1 KiB), and room.
pub(super) const MAX_PAYLOAD_BYTES: usize = 8 * 1024;

/// Round 1, to all: binds the sender to its opening before anybody has seen another's.
#[derive(Serialize, Deserialize)]
pub(super) struct Commitment {
    /// The digest of the opening's bytes.
    pub(super) digest: ByteArray<32>,
}

/// Round 2, to all: the opening, and what the sender saw in round 1.
#[derive(Serialize, Deserialize)]
pub(super) struct Reveal {
    /// The encoded [`Opening`]: bytes, because it is bytes that were committed to.
    pub(super) opening: ByteBuf,
    /// The commitments seen, by party.
    pub(super) seen: Table,
}

/// The round-1 packages of FROST's key generation, one per scheme, ascending.
#[derive(Serialize, Deserialize)]
pub(super) struct Opening(pub(super) Vec<(Scheme, ByteBuf)>);

/// Round 3, to one: the shares of the recipient, one per scheme, ascending.
#[derive(Serialize, Deserialize)]
pub(super) struct Deal(pub(super) Vec<(Scheme, SecretPayload)>);
