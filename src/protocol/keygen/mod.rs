//! Key generation by all n parties: the key generation of FROST (eprint 2020/852, figure 1: Pedersen's, with proofs of
//! knowledge), for all schemes of a wallet in one run, between a commitment round before and a confirmation after.
//!
//! | round | to | carries | what it is for |
//! |---|---|---|---|
//! | 1 | all | hash of the own round-1 packages | nobody chooses its polynomial after seeing another's, so nobody biases the key |
//! | 2 | all | the packages, and the hashes seen in round 1 | everybody builds on the same packages |
//! | 3 | each | the recipient's shares | secret; leaves only after all tables of round 2 were equal |
//! | 4 | all | hash of transcript and keys | nobody has an output unless everybody's shares were right |
//!
//! Who is named when it fails: the sender of anything malformed; of an opening that is not what its hash said, a false
//! proof, a wrong number of coefficients, a false share, or a confirmation of something else. All these were said to this
//! very party over an authenticated link, so no honest party is ever named for them. For differing tables, see the rules
//! of the echo module.
//!
//! Why a false confirmation convicts its sender: equal tables mean that all honest parties hold the same hashes, hence the
//! same packages, hence the same keys.
//!
//! The commitments hide because a package holds fresh random points. Keys of `taproot` get FROST's unspendable TapTweak
//! once, at the end, so that no party can hide a script in the group key.

mod dealing;
mod message;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest as _, Sha256};

use self::dealing::{Dealer, Receiver};
use self::message::{Commitment, Deal, MAX_PAYLOAD_BYTES, Opening, Reveal};
use super::confirmation;
use super::echo::{self, Digest, Table};
use super::fault::Fault;
use super::rng::EngineRng;
use super::rounds::{Staged, broadcast, decode_all};
use super::setup::SetupError;
use super::share::KeyShare;
use super::slots::{Received, Slots};
use super::{Abort, AbortReason, Outgoing, Party, Progress, Recipient, RunContext};
use crate::ids::{PartyIndex, Scheme, Threshold};
use crate::wire::codec;
use crate::wire::message::SecretPayload;

const COMMITMENT_DOMAIN: &str = "quorate/keygen/commitment/v1";
const TRANSCRIPT_DOMAIN: &str = "quorate/keygen/transcript/v1";
const CONFIRMATION_DOMAIN: &str = "quorate/keygen/confirmation/v1";
const ROUNDS: u8 = 4;

/// What a key generation leads to.
pub struct KeygenOutput {
    /// This party's share of each key.
    pub shares: BTreeMap<Scheme, KeyShare>,
    /// SHA-256 over the session and everybody's packages: equal for all parties, and known to nobody beforehand.
    pub transcript: [u8; 32],
}

/// One party's side of a key generation.
pub struct Keygen {
    context: RunContext,
    threshold: Threshold,
    schemes: BTreeSet<Scheme>,
    rng: Box<dyn EngineRng>,
    slots: Slots,
    stage: Stage,
}

/// What a party holds while a round is open.
enum Stage {
    /// Not started.
    Ready,
    /// Round 1.
    Committed { dealers: Dealers, opening: Vec<u8>, commitment: Digest },
    /// Round 2.
    Revealed { dealers: Dealers, opening: Vec<u8>, commitments: BTreeMap<PartyIndex, Digest> },
    /// Round 3.
    Dealt { receivers: BTreeMap<Scheme, Box<dyn Receiver>>, transcript: Digest },
    /// Round 4.
    Confirmed { output: KeygenOutput, keys: Digest },
    /// Over.
    Ended,
}

type Dealers = BTreeMap<Scheme, Box<dyn Dealer>>;
type Step = Progress<KeygenOutput>;

impl Keygen {
    /// Prepares a run that makes one key for each of `schemes`, any t of whose n shares can sign.
    ///
    /// # Errors
    /// When the parties are not exactly 1 to n with this party among them, or no scheme is asked for.
    pub fn new(
        context: RunContext,
        threshold: Threshold,
        schemes: &BTreeSet<Scheme>,
        rng: Box<dyn EngineRng>,
    ) -> Result<Self, SetupError> {
        if !context.parties.contains(&context.me) {
            return Err(SetupError::NotAParticipant);
        }
        if !context.parties.iter().map(|party| party.get()).eq(1..=threshold.parties()) {
            return Err(SetupError::Committee);
        }
        if schemes.is_empty() {
            return Err(SetupError::NoScheme);
        }
        let slots = Slots::new(&context, ROUNDS, MAX_PAYLOAD_BYTES);
        Ok(Self { context, threshold, schemes: schemes.clone(), rng, slots, stage: Stage::Ready })
    }

    /// Start: choose a polynomial for each scheme and commit to them.
    fn commit(&mut self) -> Result<Step, Fault> {
        let mut dealers = Dealers::new();
        for &scheme in &self.schemes {
            dealers.insert(scheme, dealing::begin(scheme, self.context.me, self.threshold, &mut *self.rng)?);
        }
        let packages = dealers.iter().map(|(&scheme, dealer)| (scheme, ByteBuf::from(dealer.package()))).collect();
        let opening = codec::encode(&Opening(packages), MAX_PAYLOAD_BYTES).map_err(|_| Fault::engine())?;
        let commitment = echo::digest(COMMITMENT_DOMAIN, &self.context, self.context.me, &opening);
        self.stage = Stage::Committed { dealers, opening, commitment };
        broadcast(1, &Commitment { digest: ByteArray::new(commitment) }, MAX_PAYLOAD_BYTES)
    }

    /// After round 1: open the commitment, and tell what the others' were.
    fn reveal(&mut self, dealers: Dealers, opening: Vec<u8>, own: Digest, received: &Received) -> Result<Step, Fault> {
        let others = decode_all::<Commitment>(received, MAX_PAYLOAD_BYTES, |_| true)?;
        let mut commitments: BTreeMap<_, _> =
            others.into_iter().map(|(party, commitment)| (party, commitment.digest.into_array())).collect();
        commitments.insert(self.context.me, own);
        let message = Reveal { opening: ByteBuf::from(opening.clone()), seen: Table::new(&commitments) };
        self.stage = Stage::Revealed { dealers, opening, commitments };
        broadcast(2, &message, MAX_PAYLOAD_BYTES)
    }

    /// After round 2: all must have seen the same, and every package must be right. Then deal.
    fn deal(
        &mut self,
        dealers: Dealers,
        opening: Vec<u8>,
        commitments: &BTreeMap<PartyIndex, Digest>,
        received: &Received,
    ) -> Result<Step, Fault> {
        let reveals =
            decode_all::<Reveal>(received, MAX_PAYLOAD_BYTES, |reveal| reveal.seen.is_for(&self.context.parties))?;
        let unopened = reveals.iter().filter(|&(&party, reveal)| {
            let digest = echo::digest(COMMITMENT_DOMAIN, &self.context, party, &reveal.opening);
            commitments.get(&party) != Some(&digest)
        });
        Fault::unless_empty(AbortReason::InvalidProof, unopened.map(|(&party, _)| party).collect())?;

        let tables = reveals.iter().map(|(&party, reveal)| (party, reveal.seen.clone())).collect();
        let corruptible = usize::from(self.threshold.signers() - 1);
        echo::compare(&Table::new(commitments), &tables, &self.context.parties, self.context.me, corruptible)?;

        let packages = self.packages(&reveals)?;
        let mut openings: BTreeMap<_, _> =
            reveals.into_iter().map(|(party, reveal)| (party, reveal.opening.into_vec())).collect();
        openings.insert(self.context.me, opening);
        let transcript = self.transcript(&openings);

        let mut receivers = BTreeMap::new();
        let mut deals: BTreeMap<PartyIndex, Vec<(Scheme, SecretPayload)>> = BTreeMap::new();
        for (scheme, dealer) in dealers {
            let packages = packages.get(&scheme).ok_or_else(Fault::engine)?;
            let borrowed = packages.iter().map(|(&party, package)| (party, package.as_slice())).collect();
            let (receiver, shares) = dealer.deal(&borrowed)?;
            receivers.insert(scheme, receiver);
            for (party, share) in shares {
                deals.entry(party).or_default().push((scheme, SecretPayload(share)));
            }
        }
        self.stage = Stage::Dealt { receivers, transcript };
        let messages = deals.into_iter().map(|(party, shares)| {
            let payload = codec::encode_secret(&Deal(shares), MAX_PAYLOAD_BYTES).map_err(|_| Fault::engine())?;
            Ok(Outgoing { to: Recipient::One(party), round: 3, payload })
        });
        Ok(Step { send: messages.collect::<Result<_, Fault>>()?, ..Step::default() })
    }

    /// After round 3: check the shares, add them up, and say so.
    fn confirm(
        &mut self,
        receivers: BTreeMap<Scheme, Box<dyn Receiver>>,
        transcript: Digest,
        received: &Received,
    ) -> Result<Step, Fault> {
        let deals = decode_all::<Deal>(received, MAX_PAYLOAD_BYTES, |deal| self.has_every_scheme(&deal.0))?;
        let mut shares = BTreeMap::new();
        for (position, (scheme, receiver)) in receivers.into_iter().enumerate() {
            let for_scheme = deals.iter().filter_map(|(&party, deal)| {
                let (_, share) = deal.0.get(position)?;
                Some((party, &*share.0))
            });
            shares.insert(scheme, receiver.finish(&for_scheme.collect())?);
        }
        let keys = confirmation::digest_keys(&transcript, shares.values().map(KeyShare::group))?;
        self.stage = Stage::Confirmed { output: KeygenOutput { shares, transcript }, keys };
        confirmation::confirm(CONFIRMATION_DOMAIN, &self.context, 4, &keys)
    }

    /// After round 4: everybody has the same keys, and its shares.
    fn conclude(&self, output: KeygenOutput, keys: &Digest, received: &Received) -> Result<Step, Fault> {
        confirmation::check(CONFIRMATION_DOMAIN, &self.context, keys, received)?;
        Ok(Step { output: Some(output), ..Step::default() })
    }

    /// The others' packages by scheme.
    fn packages(
        &self,
        reveals: &BTreeMap<PartyIndex, Reveal>,
    ) -> Result<BTreeMap<Scheme, BTreeMap<PartyIndex, ByteBuf>>, Fault> {
        let mut by_scheme: BTreeMap<Scheme, BTreeMap<PartyIndex, ByteBuf>> = BTreeMap::new();
        for (&party, reveal) in reveals {
            let opening = codec::decode::<Opening>(&reveal.opening, MAX_PAYLOAD_BYTES).ok();
            let opening = opening.filter(|opening| self.has_every_scheme(&opening.0));
            for (scheme, package) in opening.ok_or_else(|| Fault::by(AbortReason::Malformed, [party]))?.0 {
                by_scheme.entry(scheme).or_default().insert(party, package);
            }
        }
        Ok(by_scheme)
    }

    /// Whether a list has one entry for each scheme of this run, in their order.
    fn has_every_scheme<T>(&self, entries: &[(Scheme, T)]) -> bool {
        entries.iter().map(|(scheme, _)| scheme).eq(&self.schemes)
    }

    fn transcript(&self, openings: &BTreeMap<PartyIndex, Vec<u8>>) -> Digest {
        let mut hash = Sha256::new_with_prefix(TRANSCRIPT_DOMAIN);
        hash.update(self.context.session.0);
        hash.update([self.threshold.signers(), self.threshold.parties()]);
        for (party, opening) in openings {
            hash.update([party.get()]);
            hash.update((opening.len() as u64).to_be_bytes());
            hash.update(opening);
        }
        hash.finalize().into()
    }
}

impl Staged for Keygen {
    type Output = KeygenOutput;

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn is_started(&self) -> bool {
        !matches!(self.stage, Stage::Ready)
    }

    /// Leaves one stage for the next. On a fault the stage stays [`Stage::Ended`]: what it held is dropped, and wiped.
    fn step(&mut self, received: &Received) -> Result<Step, Fault> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Committed { dealers, opening, commitment } => self.reveal(dealers, opening, commitment, received),
            Stage::Revealed { dealers, opening, commitments } => self.deal(dealers, opening, &commitments, received),
            Stage::Dealt { receivers, transcript } => self.confirm(receivers, transcript, received),
            Stage::Confirmed { output, keys } => self.conclude(output, &keys, received),
            Stage::Ready | Stage::Ended => Err(Fault::engine()),
        }
    }
}

impl Party for Keygen {
    type Output = KeygenOutput;

    fn start(&mut self) -> Result<Step, Abort> {
        if !matches!(self.stage, Stage::Ready) {
            return Ok(Step::default());
        }
        self.stage = Stage::Ended;
        let first = self.commit();
        self.begin(first)
    }

    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Step, Abort> {
        self.take(from, round, payload)
    }

    fn round(&self) -> u8 {
        self.slots.open_round().min(ROUNDS)
    }

    fn awaited(&self) -> BTreeSet<PartyIndex> {
        self.slots.awaited()
    }

    fn max_payload_bytes(&self) -> usize {
        self.slots.max_payload_bytes()
    }
}
