//! What the parties of a reshare send. The last round's message is that of all protocols that make shares.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::ids::Scheme;
use crate::protocol::echo::Table;
use crate::wire::message::SecretPayload;

/// The largest payload, in bytes: commitments for three schemes with 32 coefficients each (3.5 KiB), and room.
pub(super) const MAX_PAYLOAD_BYTES: usize = 8 * 1024;

/// Round 1, dealers to all: commitments to the coefficients of the dealer's polynomial, for each key that it deals,
/// ascending.
#[derive(Serialize, Deserialize)]
pub(super) struct Commitments(pub(super) Vec<(Scheme, ByteBuf)>);

/// Round 2, to all: what the sender saw in round 1.
#[derive(Serialize, Deserialize)]
pub(super) struct Echo {
    /// The digests of the commitments, by dealer.
    pub(super) seen: Table,
}

/// Round 3, dealers to one new member: its sub-shares, for each key that the dealer deals, ascending.
#[derive(Serialize, Deserialize)]
pub(super) struct Deal(pub(super) Vec<(Scheme, SecretPayload)>);
