//! One way to encode and to decode: MessagePack with a limit on both sides.

use std::io::{self, ErrorKind};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;
use crate::secret::SecretBuffer;

/// The deepest nesting of a decoded value. Nothing of ours nests deeper than a handful.
const MAX_DEPTH: usize = 16;

/// Why a value was not encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Longer than its kind may be.
    #[error("message of {len} bytes is longer than its limit of {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Not an encoding of the type.
    #[error("failed to decode a message")]
    Malformed,
    /// Bytes follow the encoded value.
    #[error("bytes follow the message")]
    Trailing,
    /// Decodes, and breaks a rule of its type.
    #[error(transparent)]
    Invalid(#[from] InvalidId),
    /// The value cannot be encoded.
    #[error("failed to encode a message")]
    Encode,
}

/// Encodes with named fields, so that a format may gain fields.
///
/// # Errors
/// When the result is longer than `max` bytes.
pub fn encode<T: Serialize>(value: &T, max: usize) -> Result<Vec<u8>, CodecError> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|_| CodecError::Encode)?;
    if bytes.len() > max {
        return Err(CodecError::TooLong { len: bytes.len(), max });
    }
    Ok(bytes)
}

/// As [`encode`], for a value that takes about `expected` bytes: where it takes no more, it is written down once.
///
/// # Errors
/// When the result is longer than `max` bytes.
pub fn encode_expecting<T: Serialize>(value: &T, expected: usize, max: usize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(expected.min(max));
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|_| CodecError::Encode)?;
    if bytes.len() > max {
        return Err(CodecError::TooLong { len: bytes.len(), max });
    }
    Ok(bytes)
}

/// Encodes a value that holds secrets, into one allocation of exactly its length: a buffer that grows leaves copies
/// behind, and one that is too large takes long to wipe. So the value is encoded twice, the first time only to count.
///
/// # Errors
/// When the result is longer than `max` bytes.
pub fn encode_secret<T: Serialize>(value: &T, max: usize) -> Result<SecretBuffer, CodecError> {
    encode_secret_behind(0, value, max)
}

/// As [`encode_secret`], behind `room` zero bytes that are the caller's to use.
///
/// # Errors
/// When the encoding, without the room, is longer than `max` bytes.
pub fn encode_secret_behind<T: Serialize>(room: usize, value: &T, max: usize) -> Result<SecretBuffer, CodecError> {
    /// Counts what it is given.
    struct Counted(usize);

    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    rmp_serde::encode::write_named(&mut counted, value).map_err(|_| CodecError::Encode)?;
    if counted.0 > max {
        return Err(CodecError::TooLong { len: counted.0, max });
    }
    let mut bytes = SecretBuffer::zeroed(room.saturating_add(counted.0));
    // A slice takes no more than it has room for.
    let mut rest = bytes.get_mut(room..).unwrap_or_default();
    rmp_serde::encode::write_named(&mut rest, value).map_err(|_| CodecError::Encode)?;
    if rest.is_empty() { Ok(bytes) } else { Err(CodecError::Encode) }
}

/// Decodes exactly one value from at most `max` bytes.
///
/// # Errors
/// When there are more bytes than `max`, when they are no encoding of `T`, or when some are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLong { len: bytes.len(), max });
    }
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    decoder.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut decoder).map_err(|_| CodecError::Malformed)?;
    // Nothing may follow: the next read must find the end, not a value.
    match IgnoredAny::deserialize(&mut decoder) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(error)) if error.kind() == ErrorKind::UnexpectedEof => {}
        Ok(_) | Err(_) => return Err(CodecError::Trailing),
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec__should_round_trip_within_its_limit() {
        let bytes = encode(&("a", 1_u8), 16).unwrap();
        assert_eq!(decode::<(String, u8)>(&bytes, 16).unwrap(), ("a".to_owned(), 1));
        assert!(matches!(encode(&"long text", 4), Err(CodecError::TooLong { len: 10, max: 4 })));
        assert!(matches!(decode::<String>(&[0xa0; 5], 4), Err(CodecError::TooLong { len: 5, max: 4 })));
    }

    #[test]
    fn codec__should_refuse_what_follows_or_is_cut_short() {
        let mut bytes = encode(&("a", 1_u8), 16).unwrap();
        bytes.push(0xc1);
        assert!(matches!(decode::<(String, u8)>(&bytes, 16), Err(CodecError::Trailing)));
        bytes.truncate(2);
        assert!(matches!(decode::<(String, u8)>(&bytes, 16), Err(CodecError::Malformed)));
    }

    #[test]
    fn codec__should_not_trust_a_length_it_reads() {
        // bin 32 that claims 4 GiB, and 40 nested arrays.
        assert!(decode::<serde_bytes::ByteBuf>(&[0xc6, 0xff, 0xff, 0xff, 0xff], 64).is_err());
        assert!(decode::<IgnoredAny>(&[0x91; 40], 64).is_err());
    }

    #[test]
    fn codec__should_encode_alike_wherever_it_writes() {
        let value = ("a", 1_u8, serde_bytes::ByteBuf::from(vec![7; 100]));
        let encoded = encode(&value, 256).unwrap();
        for max in encoded.len()..encoded.len() + 3 {
            assert_eq!(*encode_secret(&value, max).unwrap(), encoded);
            assert_eq!(*encode_secret_behind(2, &value, max).unwrap(), [&[0, 0], &encoded[..]].concat());
            for expected in [0, encoded.len(), 1000] {
                assert_eq!(encode_expecting(&value, expected, max).unwrap(), encoded);
            }
        }
        let max = encoded.len() - 1;
        assert!(encode_secret(&value, max).is_err() && encode_secret_behind(2, &value, max).is_err());
        assert!(encode_expecting(&value, encoded.len(), max).is_err());
    }
}
