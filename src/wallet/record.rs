//! The wallet record: the one statement of what a wallet is.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::WalletError;
use crate::ids::{ClusterId, Generation, NodeId, Scheme, SheetHash, WalletId};
use crate::keys::{ChainCode, PublicKey};
use crate::protocol::share::GroupKey;
use crate::wire::codec;
use crate::wire::sheet::Participant;

/// The format of new wallets: every key is of generation 0.
const FIRST_VERSION: u8 = 1;
/// The format of their successors: keys have generations, and requests are remembered.
const SUCCESSOR_VERSION: u8 = 2;
/// The longest encoded record, in bytes: three keys with 32 members each take under 12 KiB, and the requests under 5 KiB.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;
/// How many requests a record remembers: the latest.
const MAX_REQUESTS: usize = 128;

/// One key of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The key, its threshold and the verifying shares.
    pub group: GroupKey,
    /// Its generation.
    pub generation: Generation,
    /// Who holds its shares: index i of the key at position i - 1.
    pub committee: Vec<Participant>,
    /// By when its shares were dealt: the deadline of the session, in milliseconds since the Unix epoch, on which all
    /// members agreed. Records of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dealt_ms: Option<u64>,
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
    /// The key generation, or the reshare, that made it what it is.
    pub session: SheetHash,
    /// The chain code of its derivations, for all its keys.
    pub chain_code: ChainCode,
    /// Its keys, ascending by scheme.
    pub keys: Vec<KeyRecord>,
    /// The hashes of the requests that its keys were reshared for, the latest last: so that a request that is sent again,
    /// by whomever and to whomever, is done once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<ByteArray<32>>,
}

/// One key that moves on to its next generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextKey {
    /// Its new threshold and verifying shares.
    pub group: GroupKey,
    /// Its new committee: index i at position i - 1.
    pub committee: Vec<Participant>,
    /// By when its shares were dealt, if that is known.
    pub dealt_ms: Option<u64>,
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
            .map(|group| KeyRecord { group, generation: Generation(0), committee: committee.to_vec(), dealt_ms: None })
            .collect();
        let (version, requests) = (FIRST_VERSION, Vec::new());
        let record = Self { version, cluster, wallet, session, chain_code, keys, requests };
        record.validate()?;
        Ok(record)
    }

    /// The record of a new wallet whose keys were dealt by then, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn dealt_by(mut self, dealt_ms: u64) -> Self {
        for key in &mut self.keys {
            key.dealt_ms = Some(dealt_ms);
        }
        self
    }

    /// The record after `session`, which reshared some of the keys for the request with this hash.
    ///
    /// # Errors
    /// When one of the keys is not of this wallet, or a rule of the record is broken.
    pub fn successor(&self, session: SheetHash, request: [u8; 32], next: Vec<NextKey>) -> Result<Self, WalletError> {
        let mut record = Self { version: SUCCESSOR_VERSION, session, ..self.clone() };
        for NextKey { group, committee, dealt_ms } in next {
            let key = record.keys.iter_mut().find(|key| key.public_key() == group.public_key());
            let key = key.ok_or(WalletError::Rule("a reshared key is not one of the wallet"))?;
            let generation = key.generation.0.checked_add(1).ok_or(WalletError::Rule("its generations are used up"))?;
            *key = KeyRecord { group, generation: Generation(generation), committee, dealt_ms };
        }
        let surplus = (record.requests.len() + 1).saturating_sub(MAX_REQUESTS);
        record.requests.drain(..surplus);
        record.requests.push(ByteArray::new(request));
        record.validate()?;
        Ok(record)
    }

    /// Whether this record may take the place of an `earlier` one: the same wallet with the same keys, at least one of
    /// them of a later generation, and none changed otherwise.
    #[must_use]
    pub fn succeeds(&self, earlier: &Self) -> bool {
        let is_same = self.cluster == earlier.cluster
            && self.wallet == earlier.wallet
            && self.chain_code == earlier.chain_code
            && self.keys.iter().map(KeyRecord::public_key).eq(earlier.keys.iter().map(KeyRecord::public_key));
        let pairs = || self.keys.iter().zip(&earlier.keys);
        is_same
            && pairs().all(|(key, earlier)| key.generation > earlier.generation || key == earlier)
            && pairs().any(|(key, earlier)| key.generation > earlier.generation)
    }

    /// Whether a reshare made the wallet what it is.
    #[must_use]
    pub fn is_successor(&self) -> bool {
        self.version == SUCCESSOR_VERSION
    }

    /// Whether a reshare for the request with this hash is among the latest.
    #[must_use]
    pub fn is_after(&self, request: &[u8; 32]) -> bool {
        self.requests.iter().any(|known| **known == *request)
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
        let is_first = self.requests.is_empty() && self.keys.iter().all(|key| key.generation == Generation(0));
        match self.version {
            FIRST_VERSION if !is_first => return Err(WalletError::Rule("it is not that of a new wallet")),
            SUCCESSOR_VERSION if is_first => return Err(WalletError::Rule("it is that of a new wallet")),
            FIRST_VERSION | SUCCESSOR_VERSION => {}
            _ => return Err(WalletError::Rule("its version is not known")),
        }
        if self.requests.len() > MAX_REQUESTS {
            return Err(WalletError::Rule("it remembers too many requests"));
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
