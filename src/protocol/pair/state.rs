//! One node's half of what it shares with one other.

use std::fmt;

use dkls23_core::utilities::multiplication::{MulReceiver, MulSender};
use dkls23_core::utilities::zero_shares::SeedPair;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PairError;
use crate::ids::{Epoch, PartyIndex};
use crate::protocol::dkls::{Curve, Fault, engine_index};
use crate::secret::SecretBytes;

/// The only format so far.
const VERSION: u8 = 1;
/// Version, epoch, fingerprint, zero-share seed.
const HEADER_BYTES: usize = 1 + 8 + 32 + 32;
/// SHA-256 over all that stands before it.
const CHECKSUM_BYTES: usize = 32;
/// What the oblivious-transfer state takes at most: 2 x 416 gadget scalars, 3 x 256 seeds and 256 choice bits take
/// 52.3 KB.
const MAX_TRANSFER_BYTES: usize = 54 * 1024;

/// Names one run of a pair setup: a hash of all that both sides said in it. Two halves fit together if and only if
/// their fingerprints are equal. It tells nothing about the state, and may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PairFingerprint(pub [u8; 32]);

impl fmt::Display for PairFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PairFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairFingerprint({})", hex::encode(&self.0[..8]))
    }
}

/// One node's half of a pair: its oblivious-transfer state in both directions and the common zero-share seed.
///
/// About 52 KB, all of it on the heap and wiped when dropped. Meant to be held once and shared by all sessions
/// (`Arc<PairState>`): a session copies what it needs, and wipes its copy. Neither `Clone` nor printable.
pub struct PairState {
    epoch: Epoch,
    fingerprint: PairFingerprint,
    sender: MulSender<Curve>,
    receiver: MulReceiver<Curve>,
    zero_seed: SecretBytes,
}

impl PairState {
    /// Puts a half together.
    pub(super) fn new(
        epoch: Epoch,
        fingerprint: PairFingerprint,
        sender: MulSender<Curve>,
        receiver: MulReceiver<Curve>,
        zero_seed: SecretBytes,
    ) -> Self {
        Self { epoch, fingerprint, sender, receiver, zero_seed }
    }

    /// Which of the pair's setups it came from.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the other half must have too.
    #[must_use]
    pub fn fingerprint(&self) -> PairFingerprint {
        self.fingerprint
    }

    /// The state as bytes to be sealed and stored: 52.4 KB.
    ///
    /// ```text
    /// version 1 │ epoch 8 │ fingerprint 32 │ zero-share seed 32 │ transfer state (postcard) │ SHA-256 of all before 32
    /// ```
    ///
    /// # Errors
    /// When the engine's state does not encode.
    pub fn to_secret_bytes(&self) -> Result<SecretBytes, PairError> {
        let mut transfer = Zeroizing::new(vec![0; MAX_TRANSFER_BYTES]);
        let len =
            postcard::to_slice(&(&self.sender, &self.receiver), &mut transfer).map_err(|_| PairError::Encode)?.len();
        transfer.truncate(len);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + len + CHECKSUM_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.fingerprint.0);
        bytes.extend_from_slice(self.zero_seed.expose());
        bytes.extend_from_slice(&transfer);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        Ok(SecretBytes::from_vec(bytes))
    }

    /// Reads what [`Self::to_secret_bytes`] wrote.
    ///
    /// A damaged state would fail the other side's checks and get this node banned, so every byte counts in the
    /// checksum.
    ///
    /// # Errors
    /// When a byte is not as it was written, or the version is not known.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, PairError> {
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(PairError::Damaged)?;
        if checksum(body) != *sum {
            return Err(PairError::Damaged);
        }
        let (&[version], rest) = body.split_first_chunk().ok_or(PairError::Damaged)?;
        let (&epoch, rest) = rest.split_first_chunk().ok_or(PairError::Damaged)?;
        let (&fingerprint, rest) = rest.split_first_chunk().ok_or(PairError::Damaged)?;
        let (seed, transfer) = rest.split_at_checked(32).ok_or(PairError::Damaged)?;
        let ((sender, receiver), left_over) =
            postcard::take_from_bytes::<(MulSender<Curve>, MulReceiver<Curve>)>(transfer)
                .map_err(|_| PairError::Damaged)?;
        let sound = version == VERSION
            && left_over.is_empty()
            && sender.check_state().is_ok()
            && receiver.check_state(None).is_ok();
        if !sound {
            return Err(PairError::Damaged);
        }
        Ok(Self {
            epoch: Epoch(u64::from_be_bytes(epoch)),
            fingerprint: PairFingerprint(fingerprint),
            sender,
            receiver,
            zero_seed: SecretBytes::copy_from(seed),
        })
    }

    /// A copy of the oblivious-transfer state for one session: to multiply as sender, and as receiver.
    pub(in crate::protocol) fn transfers(&self) -> (MulSender<Curve>, MulReceiver<Curve>) {
        (self.sender.clone(), self.receiver.clone())
    }

    /// The zero-share seed, labelled with the indices that the two have in the session: the pair's own indices mean
    /// nothing there. Of the two, the lower one subtracts and the higher one adds, so both must label by the same order.
    pub(in crate::protocol) fn seed_between(
        &self,
        me: PartyIndex,
        counterparty: PartyIndex,
    ) -> Result<SeedPair, Fault> {
        let mut pair = SeedPair {
            lowest_index: me < counterparty,
            index_counterparty: engine_index(counterparty)?,
            seed: [0; 32],
        };
        if self.zero_seed.len() != pair.seed.len() {
            return Err(Fault::OURS);
        }
        pair.seed.copy_from_slice(self.zero_seed.expose());
        Ok(pair)
    }
}

/// Tells damage, not tampering: the store's seal does that.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    Sha256::new_with_prefix(b"quorate/pair-state/v1").chain_update(bytes).finalize().into()
}
