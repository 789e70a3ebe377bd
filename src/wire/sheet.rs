//! The session sheet: the signed agreement that a session runs on.
//!
//! The coordinator fills it in and signs its bytes; every participant checks everything in it against its own records
//! before it takes part. [`SheetHash`], SHA-256 over the bytes as signed, is the session's name on every later message
//! and the session id of its protocol, so two sessions that differ in anything at all share no transcript.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};

use crate::ids::{
    ClusterId, Epoch, Generation, InvalidId, NodeId, PartyIndex, RequestId, Scheme, SessionId, SheetHash, Threshold,
    WalletId,
};
use crate::keys::{DerivationPath, TapTweak};
use crate::wire::codec;

/// The only sheet format so far.
pub const SHEET_VERSION: u8 = 1;
/// The longest encoded sheet, in bytes: a signing request with a message of 64 KiB twice over, and room.
pub const MAX_SHEET_BYTES: usize = 200 * 1024;
/// The longest message an Ed25519 or BIP-340 key signs, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// A participant: its node, and its index in the committee, which is the x at which its shares are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// The node.
    pub node: NodeId,
    /// Its index.
    pub index: PartyIndex,
}

/// A key that is dealt anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DealtKey {
    /// The key's scheme.
    pub scheme: Scheme,
    /// Its present generation.
    pub generation: Generation,
    /// Who deals it: t of its present committee, by index in that.
    pub dealers: Vec<Participant>,
}

/// What a session is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Make a wallet: one key for each of the schemes.
    Keygen {
        /// The new wallet.
        wallet: WalletId,
        /// The schemes, ascending, without repeats.
        schemes: Vec<Scheme>,
        /// t of n.
        threshold: Threshold,
        /// The client's signed request, byte for byte as it came.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Sign one message with one key of a wallet.
    Sign {
        /// The wallet.
        wallet: WalletId,
        /// The key's scheme.
        scheme: Scheme,
        /// The key's generation.
        generation: Generation,
        /// t of n of the key.
        threshold: Threshold,
        /// The client's name for the request.
        request_id: RequestId,
        /// The child key that signs.
        path: DerivationPath,
        /// BIP-340 only.
        tweak: Option<TapTweak>,
        /// ECDSA: the 32-byte digest. Otherwise the message itself.
        #[serde(with = "serde_bytes")]
        message: Vec<u8>,
        /// The client's signed request, byte for byte as it came.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Deal keys of a wallet anew, to another committee or to the same. The participants are numbered for the session:
    /// those who deal, the new committee, and whoever else must sign the wallet's new record.
    Reshare {
        /// The wallet.
        wallet: WalletId,
        /// The wallet's present certificate, encoded: new members do not hold it.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
        /// The keys, ascending by scheme, without repeats.
        keys: Vec<DealtKey>,
        /// t of n of the new committee.
        threshold: Threshold,
        /// The new committee, by index in it.
        committee: Vec<Participant>,
        /// The client's signed request, byte for byte as it came. Empty: nobody asked; the members' schedule says that the keys
        /// are to be dealt anew to the committee that they have.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Prove a reshared key: sign for its record with the new shares. The participants are members of its new committee.
    Prove {
        /// The wallet.
        wallet: WalletId,
        /// The reshare.
        reshare: SheetHash,
        /// The key.
        scheme: Scheme,
        /// Its new generation.
        generation: Generation,
        /// t of n of its new committee.
        threshold: Threshold,
        /// The signatures of all who must sign the record before it is proved.
        signatures: BTreeMap<NodeId, ByteArray<64>>,
    },
    /// Check that members' shares of a key work: sign what no one else asks for. The participants are members of its
    /// committee.
    Checkup {
        /// The wallet.
        wallet: WalletId,
        /// The key.
        scheme: Scheme,
        /// Its generation.
        generation: Generation,
        /// t of n of the key.
        threshold: Threshold,
    },
    /// Establish the oblivious-transfer state of two nodes.
    PairSetup {
        /// The epoch the new state gets.
        epoch: Epoch,
    },
}

/// What the participants of a session agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// [`SHEET_VERSION`].
    pub version: u8,
    /// The cluster.
    pub cluster: ClusterId,
    /// 32 random bytes.
    pub session: SessionId,
    /// What to do.
    pub task: Task,
    /// Who takes part, ascending by index.
    pub participants: Vec<Participant>,
    /// The node that took the request: one of the participants.
    pub coordinator: NodeId,
    /// Counts the attempts at one request, from 1.
    pub attempt: u32,
    /// Milliseconds since the Unix epoch after which the session is over.
    pub deadline_ms: u64,
}

impl Sheet {
    /// The index of `node`, if it takes part.
    #[must_use]
    pub fn index_of(&self, node: NodeId) -> Option<PartyIndex> {
        self.participants.iter().find(|p| p.node == node).map(|p| p.index)
    }

    /// The node at `index`, if it takes part.
    #[must_use]
    pub fn node_at(&self, index: PartyIndex) -> Option<NodeId> {
        self.participants.iter().find(|p| p.index == index).map(|p| p.node)
    }

    /// All indices.
    #[must_use]
    pub fn parties(&self) -> BTreeSet<PartyIndex> {
        self.participants.iter().map(|p| p.index).collect()
    }

    /// The rules that a sheet obeys whatever a node knows: version, order, uniqueness, numbers, lengths.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn validate(&self) -> Result<(), InvalidId> {
        let fail = |problem| Err(InvalidId { what: "session sheet", problem });
        if self.version != SHEET_VERSION {
            return fail("its version is not known");
        }
        if !self.participants.is_sorted_by(|a, b| a.index < b.index) {
            return fail("its participants are not in strictly ascending order");
        }
        let nodes: BTreeSet<NodeId> = self.participants.iter().map(|p| p.node).collect();
        if nodes.len() != self.participants.len() {
            return fail("a node takes part twice");
        }
        if !nodes.contains(&self.coordinator) {
            return fail("its coordinator takes no part");
        }
        let count = self.participants.len();
        match &self.task {
            Task::Keygen { schemes, threshold, .. } => {
                if schemes.is_empty() || !schemes.is_sorted_by(|a, b| a < b) {
                    return fail("its schemes are not in strictly ascending order, or there are none");
                }
                if count != usize::from(threshold.parties()) {
                    return fail("it has not as many participants as the threshold has parties");
                }
                if !self.participants.iter().map(|p| p.index.get()).eq(1..=threshold.parties()) {
                    return fail("its indices are not 1 to n");
                }
            }
            Task::Sign { scheme, threshold, tweak, message, .. } => {
                if count != usize::from(threshold.signers()) {
                    return fail("it has not as many participants as the threshold has signers");
                }
                if *scheme == Scheme::Ecdsa && message.len() != 32 {
                    return fail("its digest is not 32 bytes long");
                }
                if message.len() > MAX_MESSAGE_BYTES {
                    return fail("its message is longer than 64 KiB");
                }
                if tweak.is_some() && *scheme != Scheme::Bip340 {
                    return fail("it tweaks a key that is not a taproot key");
                }
            }
            Task::Reshare { keys, threshold, committee, .. } => {
                if keys.is_empty() || !keys.is_sorted_by(|a, b| a.scheme < b.scheme) {
                    return fail("its schemes are not in strictly ascending order, or there are none");
                }
                if !committee.iter().map(|p| p.index.get()).eq(1..=threshold.parties()) {
                    return fail("the new committee's indices are not 1 to n");
                }
                if keys.iter().any(|key| !key.dealers.is_sorted_by(|a, b| a.index < b.index)) {
                    return fail("its dealers are not in strictly ascending order");
                }
                let dealers = keys.iter().flat_map(|key| &key.dealers);
                if !dealers.chain(committee).all(|p| nodes.contains(&p.node)) {
                    return fail("a dealer or a new member takes no part");
                }
                let distinct = |list: &[Participant]| list.iter().map(|p| p.node).collect::<BTreeSet<_>>().len();
                let is_repeated = |list: &[Participant]| distinct(list) != list.len();
                if is_repeated(committee) || keys.iter().any(|key| is_repeated(&key.dealers)) {
                    return fail("a node is a dealer or a new member twice");
                }
            }
            Task::Prove { threshold, .. } | Task::Checkup { threshold, .. } => {
                if count != usize::from(threshold.signers()) {
                    return fail("it has not as many participants as the threshold has signers");
                }
            }
            Task::PairSetup { epoch } => {
                if count != 2 || !self.participants.iter().map(|p| p.index.get()).eq(1..=2) {
                    return fail("a pair setup has two participants with indices 1 and 2");
                }
                if epoch.0 == 0 {
                    return fail("epochs count from 1");
                }
            }
        }
        Ok(())
    }

    /// Encodes the sheet and names it.
    ///
    /// # Errors
    /// When it is longer than [`MAX_SHEET_BYTES`].
    pub fn seal(&self) -> Result<(Vec<u8>, SheetHash), codec::CodecError> {
        let bytes = codec::encode(self, MAX_SHEET_BYTES)?;
        let hash = hash_of(&bytes);
        Ok((bytes, hash))
    }

    /// Decodes and validates a sheet as it was received.
    ///
    /// # Errors
    /// When it is too long, does not decode or breaks a rule.
    pub fn open(bytes: &[u8]) -> Result<(Self, SheetHash), codec::CodecError> {
        let sheet: Self = codec::decode(bytes, MAX_SHEET_BYTES)?;
        sheet.validate()?;
        Ok((sheet, hash_of(bytes)))
    }
}

/// SHA-256 under the sheet's own domain.
fn hash_of(bytes: &[u8]) -> SheetHash {
    SheetHash(Sha256::new_with_prefix(b"quorate/sheet/v1").chain_update(bytes).finalize().into())
}
