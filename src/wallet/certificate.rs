//! The wallet certificate: a record with the signature of every member of its committees.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{MAX_RECORD_BYTES, WalletError, WalletRecord};
use crate::identity::PeerBook;
use crate::ids::NodeId;
use crate::sabotage::{self, Flaw};
use crate::wire::codec;

/// The signature domain of wallet records.
pub const RECORD_DOMAIN: &str = "quorate/wallet-record/v1";

/// The longest encoded certificate, in bytes: a record, and a signature for each of at most 32 members per key.
const MAX_CERTIFICATE_BYTES: usize = MAX_RECORD_BYTES + 16 * 1024;

/// A wallet record that every member has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletCertificate {
    record: WalletRecord,
    bytes: Vec<u8>,
    signatures: BTreeMap<NodeId, [u8; 64]>,
}

/// The encoded form: the record byte for byte as it was signed.
#[derive(Serialize, Deserialize)]
struct Encoded {
    #[serde(with = "serde_bytes")]
    record: Vec<u8>,
    signatures: BTreeMap<NodeId, ByteArray<64>>,
}

impl WalletCertificate {
    /// Joins a record, as encoded, with the signatures of all its members.
    ///
    /// # Errors
    /// When the record is not acceptable, or a member's signature is missing or does not verify.
    pub fn new(bytes: Vec<u8>, signatures: BTreeMap<NodeId, [u8; 64]>, peers: &PeerBook) -> Result<Self, WalletError> {
        let record = WalletRecord::decode(&bytes)?;
        for node in members(&record) {
            if !signatures.contains_key(&node) && sabotage::has(Flaw::CertifiesWithoutAll) {
                continue;
            }
            let signature = signatures.get(&node).ok_or(WalletError::Signature(node))?;
            if peers.verify(node, RECORD_DOMAIN, &[&bytes], signature).is_err() {
                return Err(WalletError::Signature(node));
            }
        }
        Ok(Self { record, bytes, signatures })
    }

    /// What is certified.
    #[must_use]
    pub fn record(&self) -> &WalletRecord {
        &self.record
    }

    /// Encodes the certificate.
    ///
    /// # Errors
    /// When it is too long.
    pub fn encode(&self) -> Result<Vec<u8>, WalletError> {
        let signatures = self.signatures.iter().map(|(&node, &signature)| (node, signature.into())).collect();
        Ok(codec::encode(&Encoded { record: self.bytes.clone(), signatures }, MAX_CERTIFICATE_BYTES)?)
    }

    /// Decodes a certificate and checks every signature in it.
    ///
    /// # Errors
    /// As [`WalletCertificate::new`].
    pub fn decode(bytes: &[u8], peers: &PeerBook) -> Result<Self, WalletError> {
        let Encoded { record, signatures } = codec::decode(bytes, MAX_CERTIFICATE_BYTES)?;
        let signatures = signatures.into_iter().map(|(node, signature)| (node, signature.into_array())).collect();
        Self::new(record, signatures, peers)
    }
}

/// The record in an encoded certificate, without a look at its signatures: for whoever has no peer book.
///
/// # Errors
/// When it does not decode, or breaks a rule of records.
pub fn unverified_record(bytes: &[u8]) -> Result<WalletRecord, WalletError> {
    let Encoded { record, .. } = codec::decode(bytes, MAX_CERTIFICATE_BYTES)?;
    WalletRecord::decode(&record)
}

/// Everybody who must sign a record: the members of all its committees.
#[must_use]
pub fn members(record: &WalletRecord) -> BTreeSet<NodeId> {
    record.keys.iter().flat_map(|key| key.committee.iter().map(|member| member.node)).collect()
}
