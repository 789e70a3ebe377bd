//! One node's half of what it shares with one other.

use std::fmt;

use dkls23_core::utilities::multiplication::{MulReceiver, MulSender};
use dkls23_core::utilities::zero_shares::SeedPair;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PairError;
use crate::ids::{Epoch, PartyIndex};
use crate::protocol::dkls::{Curve, engine_index};
use crate::protocol::fault::Fault;
use crate::secret::SecretBytes;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

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
        let state = Self { epoch, fingerprint, sender, receiver, zero_seed };
        #[cfg(any(test, feature = "testing"))]
        state.witness();
        state
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
        let state = Self {
            epoch: Epoch(u64::from_be_bytes(epoch)),
            fingerprint: PairFingerprint(fingerprint),
            sender,
            receiver,
            zero_seed: SecretBytes::copy_from(seed),
        };
        #[cfg(any(test, feature = "testing"))]
        state.witness();
        Ok(state)
    }

    /// The common seed, and the first and the last of each list of seeds.
    #[cfg(any(test, feature = "testing"))]
    fn witness(&self) {
        witness::saw(Kind::PairState, self.zero_seed.expose());
        let receiver = &self.receiver.ote_receiver;
        for seeds in [&self.sender.ote_sender.seeds, &receiver.seeds0, &receiver.seeds1] {
            seeds.first().into_iter().chain(seeds.last()).for_each(|seed| witness::saw(Kind::PairState, seed));
        }
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
            return Err(Fault::engine());
        }
        pair.seed.copy_from_slice(self.zero_seed.expose());
        Ok(pair)
    }
}

/// Tells damage, not tampering: the store's seal does that.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    Sha256::new_with_prefix(b"quorate/pair-state/v1").chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::pair::testbed::established;

    /// `bytes` with `change` made to what the checksum covers, and a checksum that fits.
    fn resealed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut body = bytes[..bytes.len() - CHECKSUM_BYTES].to_vec();
        change(&mut body);
        let sum = checksum(&body);
        body.extend_from_slice(&sum);
        body
    }

    fn is_damaged(bytes: &[u8]) -> bool {
        PairState::from_secret_bytes(bytes).err() == Some(PairError::Damaged)
    }

    #[test]
    fn state__should_survive_storage() {
        for half in established().iter().flatten() {
            let stored = half.to_secret_bytes().unwrap();
            assert_eq!(stored.len(), 52_405);
            let loaded = PairState::from_secret_bytes(stored.expose()).unwrap();
            assert_eq!((loaded.epoch(), loaded.fingerprint()), (half.epoch(), half.fingerprint()));
            assert_eq!(loaded.to_secret_bytes().unwrap().expose(), stored.expose());
        }
    }

    #[test]
    fn state__should_refuse_any_damaged_byte() {
        let stored = established()[0][0].to_secret_bytes().unwrap();
        let stored = stored.expose();
        for position in (0..stored.len()).step_by(251).chain([0, 1, 9, 41, 73, stored.len() - 1]) {
            let mut bytes = stored.to_vec();
            bytes[position] ^= 0x10;
            assert!(is_damaged(&bytes), "byte {position}");
        }
        for len in [0, 1, 31, 32, 33, 105, stored.len() - 1] {
            assert!(is_damaged(&stored[..len]), "{len} bytes");
        }
        assert!(is_damaged(&[stored, &[0]].concat()));
    }

    #[test]
    fn state__should_refuse_what_is_sealed_well_and_no_state() {
        let stored = established()[0][0].to_secret_bytes().unwrap();
        let stored = stored.expose();
        assert!(!is_damaged(&resealed(stored, |_| ())));
        assert!(is_damaged(&resealed(stored, |body| body[0] = VERSION + 1)), "a later version");
        assert!(is_damaged(&resealed(stored, |body| body.push(0))), "a byte too many");
        assert!(is_damaged(&resealed(stored, |body| body.truncate(HEADER_BYTES))), "no transfer state");
        // The gadget's length, 416 as a varint, stands first: with a scalar less, the lengths disagree.
        assert!(is_damaged(&resealed(stored, |body| {
            body[HEADER_BYTES] -= 1;
            body.drain(HEADER_BYTES + 2..HEADER_BYTES + 2 + 33);
        })));
    }

    #[test]
    fn seeds__should_be_ordered_by_the_indices_of_the_session() {
        let [one, two] = &established()[0];
        for (me, other) in [(3, 7), (7, 3)].map(|(me, other)| (index(me), index(other))) {
            let (mine, theirs) = (one.seed_between(me, other).unwrap(), two.seed_between(other, me).unwrap());
            assert_eq!(mine.seed, theirs.seed);
            assert_eq!((mine.lowest_index, theirs.lowest_index), (me < other, other < me));
            assert_eq!(mine.index_counterparty.as_u8(), other.get());
        }
    }

    fn index(index: u8) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }
}
