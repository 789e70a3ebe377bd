//! One way to encode and to decode: MessagePack with a limit on both sides.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::InvalidId;

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
    if decoder.position() != bytes.len() as u64 {
        return Err(CodecError::Trailing);
    }
    Ok(value)
}
