//! Wallets that came back out of a backup: not used before the other members say that they are still current.
//!
//! A backup may be older than a reshare. Its shares are then of a generation that the others have erased, and must not
//! sign again. So a restored store marks every wallet, and a mark goes only when enough members confirm the certificate.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{KeyRecord, WalletRecord};
use crate::ids::{NodeId, WalletId};
use crate::secret::SecretBytes;
use crate::wire::codec::{self, CodecError};

/// The prefix of the storage keys of marks, among the node's own notes.
pub const QUARANTINE_PREFIX: &[u8] = b"quarantine\0";
/// The storage key of the note that says that the store came out of a backup, and of which.
pub const RESTORED_KEY: &[u8] = b"restored";

/// The longest mark, and the longest note, in bytes.
const MAX_MARK_BYTES: usize = 128;

/// The storage key of the mark of a wallet, in the family of the node's own notes.
#[must_use]
pub fn quarantine_key(wallet: &WalletId) -> Vec<u8> {
    [QUARANTINE_PREFIX, wallet.as_str().as_bytes()].concat()
}

/// Where something came from that was restored. Kept for the store, and for each wallet in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The archive.
    #[serde(with = "serde_bytes")]
    pub archive: [u8; 16],
    /// When the archive was made, in milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// When it was restored, likewise.
    pub restored_ms: u64,
}

impl Restored {
    /// Encodes it.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn encode(&self) -> Result<SecretBytes, CodecError> {
        codec::encode(self, MAX_MARK_BYTES).map(SecretBytes::from_vec)
    }

    /// Decodes it.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_MARK_BYTES)
    }
}

/// Who has confirmed a wallet that is in quarantine: pure.
///
/// At least t of a key's n members made its next generation, if there is one, and know of it: t - 1 of them besides this
/// node. Any n - t + 1 of the n - 1 others have one of those among them. So when that many say that they know of nothing
/// newer, there is nothing newer, unless members lie or have lost their stores too. Members whose own word is not confirmed
/// do not count.
///
/// Where what is to be confirmed has come from others and takes the place of restored shares, t members must have it: as many
/// as can use it without this node. Before that, the restored shares may be what is left of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    keys: Vec<Needed>,
    confirmed: BTreeSet<NodeId>,
    replaces: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Needed {
    others: BTreeSet<NodeId>,
    /// So many that one of them would know of anything newer.
    knowing: usize,
    /// So many as sign together, or all others where these are too few.
    signing: usize,
}

impl Needed {
    fn of(key: &KeyRecord, me: NodeId) -> Self {
        let threshold = key.group.threshold();
        let knowing = usize::from(threshold.parties() - threshold.signers()) + 1;
        let others: BTreeSet<_> = key.committee.iter().map(|member| member.node).filter(|&node| node != me).collect();
        let signing = usize::from(threshold.signers()).min(others.len());
        Self { others, knowing, signing }
    }

    fn is_met(&self, confirmed: &BTreeSet<NodeId>, replaces: bool) -> bool {
        let signing = if replaces { self.signing } else { 0 };
        self.others.intersection(confirmed).count() >= self.knowing.max(signing)
    }
}

impl Confirmation {
    /// Nobody has confirmed what the record says. `replaces` says whether it takes the place of restored shares.
    #[must_use]
    pub fn new(record: &WalletRecord, me: NodeId, replaces: bool) -> Self {
        let keys = record.keys.iter().map(|key| Needed::of(key, me)).collect();
        Self { keys, confirmed: BTreeSet::new(), replaces }
    }

    /// From now on, whether it takes the place of restored shares is known better. Says whether it is complete now.
    pub fn replaces(&mut self, replaces: bool) -> bool {
        self.replaces = replaces;
        self.is_complete()
    }

    /// A member says that the wallet's certificate is the same with it. Says whether that is enough now.
    pub fn confirmed(&mut self, member: NodeId) -> bool {
        self.confirmed.insert(member);
        self.is_complete()
    }

    /// Whether enough members have confirmed every key.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.keys.iter().all(|key| key.is_met(&self.confirmed, self.replaces))
    }

    /// Who can still be asked.
    #[must_use]
    pub fn open(&self) -> BTreeSet<NodeId> {
        let others = self.keys.iter().flat_map(|key| &key.others).copied();
        others.filter(|member| !self.confirmed.contains(member)).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn confirmation(signers: usize, parties: u128) -> Confirmation {
        let knowing = usize::try_from(parties).unwrap() - signers + 1;
        let others: BTreeSet<_> = (2..=parties).map(node).collect();
        let signing = signers.min(others.len());
        Confirmation { keys: vec![Needed { others, knowing, signing }], confirmed: BTreeSet::new(), replaces: false }
    }

    #[test]
    fn confirmation__should_take_so_many_that_one_must_know() {
        for (signers, parties, enough) in [(2, 2, 1), (2, 3, 2), (3, 3, 1), (3, 5, 3), (4, 5, 2)] {
            let mut confirmation = confirmation(signers, parties);
            for number in 0..enough - 1 {
                assert!(!confirmation.confirmed(node(2 + number)), "{signers} of {parties}");
            }
            assert!(!confirmation.confirmed(node(2 + enough - 2)), "nobody counts twice");
            assert!(confirmation.confirmed(node(2 + enough - 1)), "{signers} of {parties}");
        }
    }

    #[test]
    fn confirmation__should_take_as_many_as_sign_where_restored_shares_are_replaced() {
        for (signers, parties, enough) in [(2, 2, 1), (2, 3, 2), (3, 3, 2), (3, 5, 3), (4, 5, 4), (2, 5, 4)] {
            let mut confirmation = confirmation(signers, parties);
            assert!(!confirmation.replaces(true));
            for number in 0..enough - 1 {
                assert!(!confirmation.confirmed(node(2 + number)), "{signers} of {parties}");
            }
            assert!(confirmation.confirmed(node(2 + enough - 1)), "{signers} of {parties}");
        }
        let mut confirmation = confirmation(4, 5);
        assert!(confirmation.confirmed(node(2)) || confirmation.confirmed(node(3)));
        assert!(!confirmation.replaces(true), "two of four");
        assert!(confirmation.replaces(false));
    }

    #[test]
    fn confirmation__should_not_count_strangers_nor_this_node() {
        let mut confirmation = confirmation(2, 3);
        for stranger in [node(1), node(9), node(2)] {
            assert!(!confirmation.confirmed(stranger));
        }
        assert_eq!(confirmation.open(), [node(3)].into());
        assert!(confirmation.confirmed(node(3)));
    }

    #[test]
    fn confirmation__should_be_needed_for_every_key() {
        let mut confirmation = confirmation(3, 3);
        confirmation.keys.push(Needed { others: [node(7)].into(), knowing: 1, signing: 1 });
        assert!(!confirmation.confirmed(node(2)));
        assert!(confirmation.confirmed(node(7)));
    }

    #[test]
    fn restored__should_round_trip() {
        let restored = Restored { archive: [7; 16], made_ms: u64::MAX, restored_ms: u64::MAX };
        assert_eq!(Restored::decode(restored.encode().unwrap().expose()).unwrap(), restored);
        assert!(Restored::decode(b"garbage").is_err());
    }
}
