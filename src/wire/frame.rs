//! What crosses the broker: one frame, which anybody may have written, read or altered on the way.
//!
//! A frame says nothing that is believed. `from` only selects the link whose keys are tried, `link` only the keys, and
//! `counter` is part of what the records are authenticated with.
//!
//! | kind | records | counter |
//! |---|---|---|
//! | `Request` | none: the responder asks for a handshake; its link is 0 | 0 |
//! | `Init`, `Response` | one Noise handshake message | 0 |
//! | `Data` | the Noise transport messages of one peer message, in order | nonce of the first; the others count on |

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::ids::{InvalidId, NodeId};
use crate::wire::codec::{self, CodecError};
use crate::wire::message::MAX_PEER_MESSAGE_BYTES;

/// The only frame format so far.
pub const FRAME_VERSION: u8 = 1;
/// The longest record, in bytes: the Noise specification's limit (section 3).
pub const MAX_RECORD_BYTES: usize = 65_535;
/// The most records of a frame: the longest peer message takes five.
pub const MAX_RECORDS: usize = 5;
/// The longest encoded frame, in bytes: the longest peer message, and room for records' tags and the header.
pub const MAX_FRAME_BYTES: usize = MAX_PEER_MESSAGE_BYTES + 1024;
/// What a frame takes besides its records at most, in bytes.
const HEADER_BYTES: usize = 160;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameKind {
    /// Asks for a handshake. Proves nothing.
    Request,
    /// The first message of a handshake.
    Init,
    /// Its answer.
    Response,
    /// Sealed records.
    Data,
}

/// One message of the broker, between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// [`FRAME_VERSION`].
    pub version: u8,
    /// Whose link to try. Not authenticated: a hint.
    pub from: NodeId,
    /// What the records are.
    pub kind: FrameKind,
    /// The handshake that the records belong to: random, drawn by its initiator. 0 in a request for one.
    pub link: u64,
    /// The nonce of the first record.
    pub counter: u64,
    /// 1 to [`MAX_RECORDS`] records of at most [`MAX_RECORD_BYTES`] each; none in a request for a handshake.
    #[serde(deserialize_with = "few_records")]
    pub records: Vec<ByteBuf>,
}

impl Frame {
    /// A frame that asks for a handshake.
    #[must_use]
    pub fn request(from: NodeId) -> Self {
        Self { version: FRAME_VERSION, from, kind: FrameKind::Request, link: 0, counter: 0, records: Vec::new() }
    }

    /// A frame with one handshake message.
    #[must_use]
    pub fn handshake(from: NodeId, kind: FrameKind, link: u64, message: Vec<u8>) -> Self {
        Self { version: FRAME_VERSION, from, kind, link, counter: 0, records: vec![ByteBuf::from(message)] }
    }

    /// A frame with sealed records, the first of which has the nonce `counter`.
    #[must_use]
    pub fn data(from: NodeId, link: u64, counter: u64, records: Vec<ByteBuf>) -> Self {
        Self { version: FRAME_VERSION, from, kind: FrameKind::Data, link, counter, records }
    }

    /// Encodes the frame.
    ///
    /// # Errors
    /// When it is longer than [`MAX_FRAME_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let records = self.records.iter().map(|record| record.len()).sum::<usize>();
        codec::encode_expecting(self, records.saturating_add(HEADER_BYTES), MAX_FRAME_BYTES)
    }

    /// Decodes a frame and checks its form; nothing in it is authenticated.
    ///
    /// # Errors
    /// When it is too long, does not decode, or breaks a limit or rule of this module.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let frame: Self = codec::decode(bytes, MAX_FRAME_BYTES)?;
        let problem = if frame.version != FRAME_VERSION {
            "its version is not known"
        } else if frame.kind == FrameKind::Request {
            match (frame.link, frame.counter, frame.records.is_empty()) {
                (0, 0, true) => return Ok(frame),
                _ => "a request for a handshake carries nothing",
            }
        } else if frame.records.is_empty() {
            "it has no records"
        } else if frame.kind != FrameKind::Data && (frame.records.len() != 1 || frame.counter != 0) {
            "a handshake message is one record with counter 0"
        } else if frame.counter.checked_add(MAX_RECORDS as u64).is_none() {
            "its counter is out of range"
        } else {
            return Ok(frame);
        };
        Err(InvalidId { what: "frame", problem }.into())
    }
}

/// Takes at most [`MAX_RECORDS`] records, so that a frame of a million empty ones costs nothing.
fn few_records<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ByteBuf>, D::Error> {
    struct Records;

    impl<'de> Visitor<'de> for Records {
        type Value = Vec<ByteBuf>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_RECORDS} records of at most {MAX_RECORD_BYTES} bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut records = Vec::with_capacity(MAX_RECORDS);
            while let Some(record) = sequence.next_element::<ByteBuf>()? {
                if records.len() == MAX_RECORDS || record.len() > MAX_RECORD_BYTES {
                    return Err(serde::de::Error::custom("too many records, or too long a one"));
                }
                records.push(record);
            }
            Ok(records)
        }
    }

    deserializer.deserialize_seq(Records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn node() -> NodeId {
        NodeId(Uuid::from_u128(7))
    }

    #[test]
    fn frame__should_carry_the_longest_peer_message() {
        let mut records = vec![ByteBuf::from(vec![1; MAX_RECORD_BYTES]); 4];
        records.push(ByteBuf::from(vec![2; 128]));
        let frame = Frame::data(node(), u64::MAX, 9, records);
        assert_eq!(Frame::decode(&frame.encode().unwrap()).unwrap(), frame);
    }

    #[test]
    fn frame__should_keep_its_rules_when_decoded() {
        let record = || vec![ByteBuf::from(vec![0; 48])];
        let good = Frame::data(node(), 1, 2, record());
        let asks = Frame::request(node());
        let cases = [
            ("version", Frame { version: 2, ..good.clone() }),
            ("no records", Frame { records: vec![], ..good.clone() }),
            ("too many records", Frame { records: vec![ByteBuf::new(); MAX_RECORDS + 1], ..good.clone() }),
            ("long record", Frame { records: vec![ByteBuf::from(vec![0; MAX_RECORD_BYTES + 1])], ..good.clone() }),
            (
                "handshake with two records",
                Frame { kind: FrameKind::Init, counter: 0, records: vec![ByteBuf::new(); 2], ..good.clone() },
            ),
            ("handshake with a counter", Frame { kind: FrameKind::Response, counter: 1, ..good.clone() }),
            ("counter at its end", Frame { counter: u64::MAX, ..good.clone() }),
            ("request with a record", Frame { records: record(), ..asks.clone() }),
            ("request of a handshake", Frame { link: 1, ..asks.clone() }),
            ("request with a counter", Frame { counter: 1, ..asks.clone() }),
        ];
        for sound in [good, asks] {
            assert_eq!(Frame::decode(&sound.encode().unwrap()).unwrap(), sound);
        }
        for (name, frame) in cases {
            assert!(Frame::decode(&frame.encode().unwrap()).is_err(), "{name}");
        }
        assert!(Frame::decode(&vec![0; MAX_FRAME_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn frame__should_survive_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Frame::decode(&bytes);
        }

        #[test]
        fn frame__should_survive_any_damage(
            at in 0_usize..200,
            flip in 1_u8..,
            cut in 0_usize..200,
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let frame = Frame::data(node(), 3, 4, vec![ByteBuf::from(body)]);
            let mut bytes = frame.encode().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let _ = Frame::decode(&bytes);
            bytes.truncate(cut);
            let _ = Frame::decode(&bytes);
        }

        #[test]
        fn frame__should_decode_what_it_encoded(link: u64, counter in 0..u64::MAX - 8, len in 1_usize..=MAX_RECORDS) {
            let frame = Frame::data(node(), link, counter, vec![ByteBuf::from(vec![5; 20]); len]);
            prop_assert_eq!(Frame::decode(&frame.encode().unwrap()).unwrap(), frame);
        }
    }
}
