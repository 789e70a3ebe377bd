//! Which requests run: one content per request id, for ever, and one signature.
//!
//! Before a node lets its share of a signature out, it has the request's content on disk under (wallet, request id),
//! with the session and its signers. Two quorums of a majority threshold have a node in common; as long as that node is
//! honest, no two contents are signed under one id, whoever coordinates.
//!
//! Nor is one content signed twice. A share that has left may have become a signature at any other signer of its
//! session, and a node that was cut off knows nothing of it. So before it lets a share out for another session, it asks
//! those signers: whoever has the answer tells it, and the others say that the session is over for them and stays so.
//! Until all have spoken, the request waits, and fails if one of them is away. A session whose share this node knows to
//! have kept needs no asking.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{NodeId, RequestId, SheetHash, WalletId};
use crate::keys::Signature;
use crate::sabotage::{self, Flaw};
use crate::secret::SecretBytes;
use crate::wire::codec::{self, CodecError};

/// The longest encoded admission record, in bytes: 32 signers of 18 bytes, a signature of under 100, three hashes.
const MAX_RECORD_BYTES: usize = 1024;

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
    /// The session that this node's share may have left for, as long as there is no answer.
    pub attempt: Option<Attempted>,
}

/// A session that may have made a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// The session.
    pub session: SheetHash,
    /// Its signers.
    pub signers: Vec<NodeId>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is new: its content must be on disk before anything of the signature leaves.
    New,
    /// The same content was admitted before, and this node knows no answer.
    Again(Again),
    /// It was answered.
    Answered(Signature),
    /// The id stands for another content.
    Conflict,
}

/// What is on disk of a request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// The SHA-256 of the record: another may only take its place as long as it is there.
    pub record: [u8; 32],
    /// The session that may have made a signature.
    pub attempt: Option<Attempted>,
}

/// Decides by the record on disk.
///
/// # Errors
/// When the record does not decode.
pub fn admit(on_disk: Option<&[u8]>, content: &[u8; 32]) -> Result<Admission, CodecError> {
    let Some(bytes) = on_disk else { return Ok(Admission::New) };
    Ok(match AdmissionRecord::decode(bytes)? {
        record if record.content != *content && !sabotage::has(Flaw::IgnoresConflicts) => Admission::Conflict,
        AdmissionRecord { answer: Some(signature), .. } => Admission::Answered(signature),
        AdmissionRecord { attempt, .. } => Admission::Again(Again { record: Sha256::digest(bytes).into(), attempt }),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SIGNATURE: Signature = Signature::Ed25519([7; 64]);

    fn attempted(signers: u128) -> Attempted {
        let signers = (1..=signers).map(|number| NodeId(Uuid::from_u128(u128::MAX - number))).collect();
        Attempted { session: SheetHash([0xff; 32]), signers }
    }

    #[test]
    fn admission__should_follow_the_record_on_disk() {
        let record = |content, answer| {
            let record = AdmissionRecord { content: [content; 32], answer, attempt: Some(attempted(2)) };
            record.encode().unwrap().expose().to_vec()
        };
        let again = Again { record: Sha256::digest(record(1, None)).into(), attempt: Some(attempted(2)) };
        for (on_disk, expected) in [
            (None, Admission::New),
            (Some(record(1, None)), Admission::Again(again)),
            (Some(record(1, Some(SIGNATURE))), Admission::Answered(SIGNATURE)),
            (Some(record(2, None)), Admission::Conflict),
            (Some(record(2, Some(SIGNATURE))), Admission::Conflict),
        ] {
            assert_eq!(admit(on_disk.as_deref(), &[1; 32]).unwrap(), expected, "{on_disk:?}");
        }
        assert!(admit(Some(b"garbage"), &[1; 32]).is_err());
    }

    #[test]
    fn admission_record__should_fit_its_limit_with_the_most_signers() {
        let (answer, attempt) = (Some(Signature::Ed25519([0xff; 64])), Some(attempted(32)));
        AdmissionRecord { content: [0xff; 32], answer, attempt }.encode().unwrap();
    }

    #[test]
    fn admission_record__should_round_trip_and_refuse_garbage() {
        let record = AdmissionRecord { content: [3; 32], answer: Some(SIGNATURE), attempt: None };
        assert_eq!(AdmissionRecord::decode(record.encode().unwrap().expose()).unwrap(), record);
        assert!(AdmissionRecord::decode(b"garbage").is_err());
    }
}
