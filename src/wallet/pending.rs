//! The pending record: new shares between their first write and their certificate.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MAX_RECORD_BYTES, WalletRecord, members};
use crate::ids::{NodeId, Scheme, SheetHash};
use crate::keys::Signature;
use crate::secret::SecretBytes;
use crate::wire::codec::{self, CodecError};
use crate::wire::message::SecretPayload;

/// The longest encoded pending record, in bytes: the wallet record, and three shares of under 8 KiB.
const MAX_PENDING_BYTES: usize = MAX_RECORD_BYTES + 32 * 1024;

/// What a node holds of a key generation, or a reshare, that is not certified yet.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The session that made the shares.
    pub session: SheetHash,
    /// The hash of the request's content.
    #[serde(with = "serde_bytes")]
    pub content: [u8; 32],
    /// The wallet record, as it is signed.
    #[serde(with = "serde_bytes")]
    pub record: Vec<u8>,
    /// This node's signature of it.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
    /// The encoded shares; none where the node gets none and took part all the same.
    shares: BTreeMap<Scheme, SecretPayload>,
    /// Who took part in the session, where these are not just the members.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub participants: BTreeSet<NodeId>,
    /// Who else must learn of the certificate: members that it makes former ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub former: BTreeSet<NodeId>,
    /// The proofs of keys that stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proofs: BTreeMap<Scheme, Signature>,
}

impl Pending {
    pub fn new(
        session: SheetHash,
        content: [u8; 32],
        record: Vec<u8>,
        signature: [u8; 64],
        shares: &BTreeMap<Scheme, SecretBytes>,
    ) -> Self {
        let wrap = |bytes: &SecretBytes| SecretPayload(bytes.expose().to_vec().into());
        let shares = shares.iter().map(|(&scheme, bytes)| (scheme, wrap(bytes))).collect();
        let (participants, former, proofs) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { session, content, record, signature, shares, participants, former, proofs }
    }

    /// A reshare: the session's `participants`, the members so far, and the proofs of keys that stay.
    pub fn of_reshare(
        self,
        participants: BTreeSet<NodeId>,
        former: BTreeSet<NodeId>,
        proofs: BTreeMap<Scheme, Signature>,
    ) -> Self {
        Self { participants, former, proofs, ..self }
    }

    /// Everybody who must sign the record before it is certified: all its members, and all who took part.
    pub fn signers(&self, record: &WalletRecord) -> BTreeSet<NodeId> {
        &self.participants | &members(record)
    }

    /// The encoded shares, for the store.
    pub fn shares(&self) -> impl Iterator<Item = (Scheme, SecretBytes)> + '_ {
        self.shares.iter().map(|(&scheme, bytes)| (scheme, SecretBytes::copy_from(&bytes.0)))
    }

    pub fn encode(&self) -> Result<SecretBytes, CodecError> {
        codec::encode_secret(self, MAX_PENDING_BYTES).map(|bytes| SecretBytes::copy_from(&bytes))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_PENDING_BYTES)
    }
}
