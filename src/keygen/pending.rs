//! The pending record: a key generation's shares between their first write and their certificate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Scheme, SheetHash};
use crate::secret::SecretBytes;
use crate::wallet::MAX_RECORD_BYTES;
use crate::wire::codec::{self, CodecError};
use crate::wire::message::SecretPayload;

/// The longest encoded pending record, in bytes: the wallet record, and three shares of under 8 KiB.
const MAX_PENDING_BYTES: usize = MAX_RECORD_BYTES + 32 * 1024;

/// What a node holds of a key generation that is not certified yet.
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
    /// The encoded shares.
    shares: BTreeMap<Scheme, SecretPayload>,
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
        Self { session, content, record, signature, shares }
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
