//! The wallet certificate: a record with the signature of every member of its committees, and the proof of every key that
//! was reshared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{MAX_RECORD_BYTES, WalletError, WalletRecord, proof_message};
use crate::identity::PeerBook;
use crate::ids::{Generation, NodeId, Scheme};
use crate::keys::Signature;
use crate::protocol::verify::verify;
use crate::sabotage::{self, Flaw};
use crate::wire::codec;

/// The signature domain of wallet records.
pub const RECORD_DOMAIN: &str = "quorate/wallet-record/v1";

/// The longest encoded certificate, in bytes: a record, and a signature for each of at most 32 members per key.
const MAX_CERTIFICATE_BYTES: usize = MAX_RECORD_BYTES + 16 * 1024;

/// A wallet record that every member has signed, and every reshared key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletCertificate {
    record: WalletRecord,
    bytes: Vec<u8>,
    signatures: BTreeMap<NodeId, [u8; 64]>,
    proofs: BTreeMap<Scheme, Signature>,
}

/// The encoded form: the record byte for byte as it was signed.
#[derive(Serialize, Deserialize)]
struct Encoded {
    #[serde(with = "serde_bytes")]
    record: Vec<u8>,
    signatures: BTreeMap<NodeId, ByteArray<64>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    proofs: BTreeMap<Scheme, Signature>,
}

impl WalletCertificate {
    /// Joins the record of a new wallet, as encoded, with the signatures of all its members.
    ///
    /// # Errors
    /// As [`WalletCertificate::with_proofs`].
    pub fn new(bytes: Vec<u8>, signatures: BTreeMap<NodeId, [u8; 64]>, peers: &PeerBook) -> Result<Self, WalletError> {
        Self::with_proofs(bytes, signatures, BTreeMap::new(), peers)
    }

    /// Joins a record, as encoded, with the signatures of all its members, and the proofs of all keys that were reshared.
    ///
    /// # Errors
    /// When the record is not acceptable, or a signature or a proof is missing or does not verify.
    pub fn with_proofs(
        bytes: Vec<u8>,
        signatures: BTreeMap<NodeId, [u8; 64]>,
        proofs: BTreeMap<Scheme, Signature>,
        peers: &PeerBook,
    ) -> Result<Self, WalletError> {
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
        check_proofs(&record, &proofs)?;
        Ok(Self { record, bytes, signatures, proofs })
    }

    /// The proofs of the keys that were reshared.
    #[must_use]
    pub const fn proofs(&self) -> &BTreeMap<Scheme, Signature> {
        &self.proofs
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
        let encoded = Encoded { record: self.bytes.clone(), signatures, proofs: self.proofs.clone() };
        Ok(codec::encode(&encoded, MAX_CERTIFICATE_BYTES)?)
    }

    /// Decodes a certificate and checks every signature in it.
    ///
    /// # Errors
    /// As [`WalletCertificate::new`].
    pub fn decode(bytes: &[u8], peers: &PeerBook) -> Result<Self, WalletError> {
        let Encoded { record, signatures, proofs } = codec::decode(bytes, MAX_CERTIFICATE_BYTES)?;
        let signatures = signatures.into_iter().map(|(node, signature)| (node, signature.into_array())).collect();
        Self::with_proofs(record, signatures, proofs, peers)
    }
}

/// Whether every reshared key has proved itself.
fn check_proofs(record: &WalletRecord, proofs: &BTreeMap<Scheme, Signature>) -> Result<(), WalletError> {
    for key in record.keys.iter().filter(|key| key.generation > Generation(0)) {
        let scheme = key.group.scheme();
        let message = proof_message(record, key)?;
        let proof = proofs.get(&scheme).ok_or(WalletError::Proof(scheme))?;
        verify(&key.public_key(), &message, None, proof).map_err(|_| WalletError::Proof(scheme))?;
    }
    Ok(())
}

/// The record in an encoded certificate, without a look at its signatures: for whoever has no peer book, and for what this
/// node has verified before and has from its own sealed store.
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
