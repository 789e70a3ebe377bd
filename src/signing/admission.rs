//! Which requests run: one content per request id, for ever, and one signature.
//!
//! Before a node lets its part of a signature out, it has the request's content on disk under (wallet, request id). Two
//! quorums of a majority threshold share a node; as long as that node is honest, no two contents are signed under one
//! id, whoever coordinates.

use serde::{Deserialize, Serialize};

use crate::ids::{RequestId, WalletId};
use crate::keys::Signature;
use crate::sabotage::{self, Flaw};
use crate::secret::SecretBytes;
use crate::wire::codec::{self, CodecError};

/// The longest encoded admission record, in bytes.
const MAX_RECORD_BYTES: usize = 512;

/// What a request is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// The wallet.
    pub wallet: WalletId,
    /// The client's name for the request.
    pub request: RequestId,
}

impl RequestKey {
    /// The storage key: wallet ids hold no NUL. Long names are shortened by the store's own limit on keys, so the
    /// request id stands there as its hash.
    #[must_use]
    pub fn storage_key(&self) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        let mut key = b"sign\0".to_vec();
        key.extend_from_slice(self.wallet.as_str().as_bytes());
        key.push(0);
        key.extend_from_slice(&Sha256::digest(self.request.as_str().as_bytes()));
        key
    }
}

/// What a node has on disk about a request it took part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionRecord {
    /// The hash of everything that determines the signature.
    #[serde(with = "serde_bytes")]
    pub content: [u8; 32],
    /// The signature, once there is one.
    pub answer: Option<Signature>,
}

impl AdmissionRecord {
    /// Encodes the record. It is not secret; sealing keeps it from being altered.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn encode(&self) -> Result<SecretBytes, CodecError> {
        codec::encode(self, MAX_RECORD_BYTES).map(SecretBytes::from_vec)
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_RECORD_BYTES)
    }
}

/// What to do with a request, by what is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is new: its content must be on disk before anything of the signature leaves.
    New,
    /// The same content was admitted before and got no answer: it runs again, nothing to write.
    Again,
    /// It was answered.
    Answered(Signature),
    /// The id stands for another content.
    Conflict,
}

/// Decides by the record on disk.
#[must_use]
pub fn admit(on_disk: Option<&AdmissionRecord>, content: &[u8; 32]) -> Admission {
    match on_disk {
        None => Admission::New,
        Some(record) if record.content != *content && !sabotage::has(Flaw::IgnoresConflicts) => Admission::Conflict,
        Some(AdmissionRecord { answer: Some(signature), .. }) => Admission::Answered(*signature),
        Some(_) => Admission::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: Signature = Signature::Ed25519([7; 64]);

    #[test]
    fn admission__should_follow_the_record_on_disk() {
        let record = |content, answer| AdmissionRecord { content: [content; 32], answer };
        for (on_disk, expected) in [
            (None, Admission::New),
            (Some(record(1, None)), Admission::Again),
            (Some(record(1, Some(SIGNATURE))), Admission::Answered(SIGNATURE)),
            (Some(record(2, None)), Admission::Conflict),
            (Some(record(2, Some(SIGNATURE))), Admission::Conflict),
        ] {
            assert_eq!(admit(on_disk.as_ref(), &[1; 32]), expected, "{on_disk:?}");
        }
    }

    #[test]
    fn admission_record__should_round_trip_and_refuse_garbage() {
        let record = AdmissionRecord { content: [3; 32], answer: Some(SIGNATURE) };
        assert_eq!(AdmissionRecord::decode(record.encode().unwrap().expose()).unwrap(), record);
        assert!(AdmissionRecord::decode(b"garbage").is_err());
    }
}
