//! The wallet record: the one statement of what a wallet is.

use serde::{Deserialize, Serialize};

use super::WalletError;
use crate::ids::{ClusterId, Generation, NodeId, Scheme, SheetHash, WalletId};
use crate::keys::{ChainCode, PublicKey};
use crate::protocol::share::GroupKey;
use crate::wire::codec;
use crate::wire::sheet::Participant;

/// The only record format so far.
const RECORD_VERSION: u8 = 1;
/// The longest encoded record, in bytes: three keys with 32 members each take under 12 KiB.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;

/// One key of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The key, its threshold and the verifying shares.
    pub group: GroupKey,
    /// Its generation.
    pub generation: Generation,
    /// Who holds its shares: index i of the key at position i - 1.
    pub committee: Vec<Participant>,
}

impl KeyRecord {
    /// The key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.group.public_key()
    }

    /// The committee's member on `node`.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<Participant> {
        self.committee.iter().find(|member| member.node == node).copied()
    }
}

/// A wallet: its keys, who holds them, and the chain code of its derivations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletRecord {
    version: u8,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its name.
    pub wallet: WalletId,
    /// The key generation that made it.
    pub session: SheetHash,
    /// The chain code of its derivations, for all its keys.
    pub chain_code: ChainCode,
    /// Its keys, ascending by scheme.
    pub keys: Vec<KeyRecord>,
}

impl WalletRecord {
    /// Puts the record of a new wallet together: every key in generation 0, held by all of `committee`.
    ///
    /// # Errors
    /// When a rule of the record is broken.
    pub fn new(
        cluster: ClusterId,
        wallet: WalletId,
        session: SheetHash,
        chain_code: ChainCode,
        groups: Vec<GroupKey>,
        committee: &[Participant],
    ) -> Result<Self, WalletError> {
        let keys = groups
            .into_iter()
            .map(|group| KeyRecord { group, generation: Generation(0), committee: committee.to_vec() })
            .collect();
        let record = Self { version: RECORD_VERSION, cluster, wallet, session, chain_code, keys };
        record.validate()?;
        Ok(record)
    }

    /// The wallet's key for `scheme`.
    #[must_use]
    pub fn key(&self, scheme: Scheme) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.group.scheme() == scheme)
    }

    /// Encodes the record: what its members sign.
    ///
    /// # Errors
    /// When it is too long.
    pub fn encode(&self) -> Result<Vec<u8>, WalletError> {
        Ok(codec::encode(self, MAX_RECORD_BYTES)?)
    }

    /// Decodes and checks a record.
    ///
    /// # Errors
    /// When it does not decode or breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, WalletError> {
        let record: Self = codec::decode(bytes, MAX_RECORD_BYTES)?;
        record.validate()?;
        Ok(record)
    }

    fn validate(&self) -> Result<(), WalletError> {
        if self.version != RECORD_VERSION {
            return Err(WalletError::Rule("its version is not known"));
        }
        if self.keys.is_empty() || !self.keys.is_sorted_by(|a, b| a.group.scheme() < b.group.scheme()) {
            return Err(WalletError::Rule("its keys are not one per scheme in ascending order, or there are none"));
        }
        for key in &self.keys {
            let parties = key.group.threshold().parties();
            if !key.committee.iter().map(|member| member.index.get()).eq(1..=parties) {
                return Err(WalletError::Rule("a committee's indices are not 1 to n"));
            }
            let mut nodes: Vec<NodeId> = key.committee.iter().map(|member| member.node).collect();
            nodes.sort_unstable();
            nodes.dedup();
            if nodes.len() != key.committee.len() {
                return Err(WalletError::Rule("a node sits in a committee twice"));
            }
        }
        Ok(())
    }
}
