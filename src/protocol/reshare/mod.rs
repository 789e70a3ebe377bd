//! Resharing: an old quorum deals its keys anew to a new committee, of any size and threshold, for all keys in one run
//! (Desmedt and Jajodia 1997; with Feldman's verification as in Wong, Wang and Wing 2002). The keys stay what they are; the
//! old shares and the new ones lie on different polynomials, so that they are of no use together. A refresh is a reshare
//! to the same committee, and so is a repair, which then does without the share that was lost.
//!
//! | round | from | to | carries | what it is for |
//! |---|---|---|---|---|
//! | 1 | dealers | all | commitments to the coefficients of the dealer's polynomials | binds it before it deals |
//! | 2 | all | all | the digests of what was seen in round 1 | everybody builds on the same commitments |
//! | 3 | dealers | each new member | its sub-shares | secret; leaves only after all tables of round 2 were equal |
//! | 4 | all | all | hash of transcript and new keys | nobody has an output unless everybody's shares were right |
//!
//! The parties are numbered for the session; which of them deal with which old share, and which get which new one, says
//! the [`ResharePlan`]. Those who only deal, or do neither, learn the new keys and get no share.
//!
//! Who is named when it fails: the sender of anything malformed; of commitments that are not to its part of the key, which
//! the old verifying shares tell; of a sub-share that is not what was committed to; of a confirmation of something else.
//! All these were said to this very party over an authenticated link, so no honest party is ever named for them. For
//! differing tables, see the rules of the echo module. Nobody is named where commitments cancel each other out: that takes a
//! dealer that chose its own after seeing the others', and which one it was cannot be told before it fails to deal.

mod dealing;
mod message;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use self::dealing::CommitmentsByDealer;
use self::message::{Commitments, Deal, Echo, MAX_PAYLOAD_BYTES};
pub use self::plan::{OldKey, ResharePlan};
use super::confirmation;
use super::echo::{self, Digest, Table};
use super::fault::Fault;
use super::rng::EngineRng;
use super::rounds::{Staged, broadcast, decode_all};
use super::setup::SetupError;
use super::share::{GroupKey, KeyShare, MAX_GROUP_BYTES};
use super::slots::{Received, Slots};
use super::{Abort, AbortReason, Outgoing, Party, Progress, Recipient, RunContext};
use crate::ids::{PartyIndex, Scheme};
use crate::wire::codec;
use crate::wire::message::SecretPayload;

const COMMITMENT_DOMAIN: &str = "quorate/reshare/commitment/v1";
const TRANSCRIPT_DOMAIN: &str = "quorate/reshare/transcript/v1";
const CONFIRMATION_DOMAIN: &str = "quorate/reshare/confirmation/v1";
const ROUNDS: u8 = 4;

/// What a reshare leads to.
pub struct ReshareOutput {
    /// The new public side of each key.
    pub groups: BTreeMap<Scheme, GroupKey>,
    /// This party's new share of each key; none where it is no member of the new committee.
    pub shares: BTreeMap<Scheme, KeyShare>,
    /// SHA-256 over the session, its plan and everybody's commitments: equal for all parties.
    pub transcript: [u8; 32],
}

/// One party's side of a reshare.
pub struct Reshare {
    context: RunContext,
    plan: ResharePlan,
    dealers: BTreeSet<PartyIndex>,
    shares: BTreeMap<Scheme, Arc<KeyShare>>,
    rng: Box<dyn EngineRng>,
    slots: Slots,
    stage: Stage,
}

/// What a party holds while a round is open.
enum Stage {
    /// Not started.
    Ready,
    /// Round 1.
    Committed { own: Vec<u8>, sub_shares: SubShares },
    /// Round 2.
    Echoed { seen: Table, groups: Groups, sub_shares: SubShares },
    /// Round 3.
    Dealt { groups: Groups, own: Vec<(Scheme, SecretPayload)> },
    /// Round 4.
    Confirmed { output: ReshareOutput, keys: Digest },
    /// Over.
    Ended,
}

/// What a dealer deals, by the new index of who gets it; empty for others.
type SubShares = BTreeMap<PartyIndex, Vec<(Scheme, SecretPayload)>>;

/// The new keys, with what they came of.
struct Groups {
    groups: BTreeMap<Scheme, GroupKey>,
    commitments: BTreeMap<Scheme, CommitmentsByDealer>,
    transcript: Digest,
}

type Step = Progress<ReshareOutput>;

impl Reshare {
    /// Prepares a run. `shares` holds this party's old share of every key that it deals.
    ///
    /// # Errors
    /// When the plan does not hold together, or its dealers and receivers and this party are not all among the parties, or
    /// a share is missing, or is not the one that the plan says.
    pub fn new(
        context: RunContext,
        plan: ResharePlan,
        shares: BTreeMap<Scheme, Arc<KeyShare>>,
        rng: Box<dyn EngineRng>,
    ) -> Result<Self, SetupError> {
        if !context.parties.contains(&context.me) {
            return Err(SetupError::NotAParticipant);
        }
        if plan.keys.is_empty() {
            return Err(SetupError::NoScheme);
        }
        let (dealers, receivers) = (plan.dealers(), plan.receivers.keys().copied().collect::<BTreeSet<_>>());
        let everybody: BTreeSet<PartyIndex> = dealers.union(&receivers).copied().collect();
        if !plan.is_consistent() || !everybody.is_subset(&context.parties) {
            return Err(SetupError::Committee);
        }
        for scheme in plan.dealt_by(context.me) {
            let key = plan.keys.get(&scheme).ok_or(SetupError::NoScheme)?;
            let as_planned = |share: &&Arc<KeyShare>| {
                key.dealers.get(&context.me) == Some(&share.index()) && *share.group() == key.group
            };
            shares.get(&scheme).filter(as_planned).ok_or(SetupError::WrongShare)?;
        }
        let dealt_to_me = if receivers.contains(&context.me) { dealers.clone() } else { BTreeSet::new() };
        let everybody = context.parties.clone();
        let senders = vec![dealers.clone(), everybody.clone(), dealt_to_me, everybody];
        let slots = Slots::of_senders(&context, senders, MAX_PAYLOAD_BYTES);
        Ok(Self { context, plan, dealers, shares, rng, slots, stage: Stage::Ready })
    }

    /// Start: a dealer chooses its polynomials and commits to them.
    fn commit(&mut self) -> Result<Step, Fault> {
        let mut commitments = Vec::new();
        let mut sub_shares = SubShares::new();
        for scheme in self.plan.dealt_by(self.context.me) {
            let (Some(key), Some(share)) = (self.plan.keys.get(&scheme), self.shares.get(&scheme)) else {
                return Err(Fault::engine());
            };
            let quorum = key.dealers.values().copied().collect();
            let dealt = dealing::deal(share, &quorum, self.plan.threshold, &mut *self.rng)?;
            commitments.push((scheme, ByteBuf::from(dealt.commitment)));
            for (receiver, share) in dealt.shares {
                sub_shares.entry(receiver).or_default().push((scheme, SecretPayload(share)));
            }
        }
        self.shares.clear();
        if commitments.is_empty() {
            self.stage = Stage::Committed { own: Vec::new(), sub_shares };
            return Ok(Step::default());
        }
        let own = codec::encode(&Commitments(commitments), MAX_PAYLOAD_BYTES).map_err(|_| Fault::engine())?;
        let payload = own.clone().into();
        self.stage = Stage::Committed { own, sub_shares };
        Ok(Step { send: vec![Outgoing { to: Recipient::All, round: 1, payload }], ..Step::default() })
    }

    /// After round 1: every dealer must have committed to its part of the keys; tell what was seen.
    fn echo(&mut self, own: Vec<u8>, sub_shares: SubShares, received: &Received) -> Result<Step, Fault> {
        let mut seen: BTreeMap<PartyIndex, Vec<u8>> =
            received.iter().map(|(&dealer, payload)| (dealer, payload.to_vec())).collect();
        if self.dealers.contains(&self.context.me) {
            seen.insert(self.context.me, own);
        }
        let digests = seen
            .iter()
            .map(|(&dealer, payload)| (dealer, echo::digest(COMMITMENT_DOMAIN, &self.context, dealer, payload)))
            .collect();
        let table = Table::new(&digests);
        let groups = self.combine(&seen)?;
        let message = Echo { seen: table.clone() };
        self.stage = Stage::Echoed { seen: table, groups, sub_shares };
        broadcast(2, &message, MAX_PAYLOAD_BYTES)
    }

    /// After round 2: all must have seen the same. Then deal.
    fn deal(
        &mut self,
        own: &Table,
        groups: Groups,
        mut sub_shares: SubShares,
        received: &Received,
    ) -> Result<Step, Fault> {
        let echoes = decode_all::<Echo>(received, MAX_PAYLOAD_BYTES, |echo| echo.seen.is_for(&self.dealers))?;
        let tables = echoes.into_iter().map(|(party, echo)| (party, echo.seen)).collect();
        echo::compare(own, &tables, &self.dealers, self.context.me, self.plan.corruptible())?;

        let mut send = Vec::new();
        let mut kept = Vec::new();
        for (&party, receiver) in &self.plan.receivers {
            let Some(shares) = sub_shares.remove(receiver) else { continue };
            if party == self.context.me {
                kept = shares;
                continue;
            }
            let payload = codec::encode_secret(&Deal(shares), MAX_PAYLOAD_BYTES).map_err(|_| Fault::engine())?;
            send.push(Outgoing { to: Recipient::One(party), round: 3, payload });
        }
        self.stage = Stage::Dealt { groups, own: kept };
        Ok(Step { send, ..Step::default() })
    }

    /// After round 3: a new member checks its sub-shares and adds them up; all say what the keys are.
    fn confirm(
        &mut self,
        groups: Groups,
        own: Vec<(Scheme, SecretPayload)>,
        received: &Received,
    ) -> Result<Step, Fault> {
        let Groups { groups, commitments, transcript } = groups;
        let mut shares = BTreeMap::new();
        if let Some(&index) = self.plan.receivers.get(&self.context.me) {
            let mut deals = decode_all::<Deal>(received, MAX_PAYLOAD_BYTES, |_| true)?;
            let wrong = deals.iter().filter(|&(&dealer, deal)| !self.is_of(dealer, &deal.0)).map(|(&dealer, _)| dealer);
            Fault::unless_empty(AbortReason::Malformed, wrong.collect())?;
            if self.dealers.contains(&self.context.me) {
                deals.insert(self.context.me, Deal(own));
            }
            for (&scheme, group) in &groups {
                let of_scheme = |deal: &'_ Deal| deal.0.iter().position(|(dealt, _)| *dealt == scheme);
                let dealt = deals.iter().filter_map(|(&dealer, deal)| {
                    let (_, share) = deal.0.get(of_scheme(deal)?)?;
                    Some((dealer, &*share.0))
                });
                let commitments = commitments.get(&scheme).ok_or_else(Fault::engine)?;
                shares.insert(scheme, dealing::receive(index, group, commitments, &dealt.collect())?);
            }
        }
        let keys = confirmation::digest_keys(&transcript, groups.values())?;
        self.stage = Stage::Confirmed { output: ReshareOutput { groups, shares, transcript }, keys };
        confirmation::confirm(CONFIRMATION_DOMAIN, &self.context, 4, &keys)
    }

    /// After round 4: everybody has the same keys, and every new member its shares.
    fn conclude(&self, output: ReshareOutput, keys: &Digest, received: &Received) -> Result<Step, Fault> {
        confirmation::check(CONFIRMATION_DOMAIN, &self.context, keys, received)?;
        Ok(Step { output: Some(output), ..Step::default() })
    }

    /// Checks what all dealers committed to, and puts the new keys together.
    fn combine(&self, seen: &BTreeMap<PartyIndex, Vec<u8>>) -> Result<Groups, Fault> {
        let mut commitments: BTreeMap<Scheme, CommitmentsByDealer> = BTreeMap::new();
        let mut malformed = BTreeSet::new();
        for (&dealer, payload) in seen {
            let decoded = codec::decode::<Commitments>(payload, MAX_PAYLOAD_BYTES).ok();
            let Some(Commitments(list)) = decoded.filter(|decoded| self.is_of(dealer, &decoded.0)) else {
                malformed.insert(dealer);
                continue;
            };
            for (scheme, commitment) in list {
                commitments.entry(scheme).or_default().insert(dealer, commitment.into_vec());
            }
        }
        Fault::unless_empty(AbortReason::Malformed, malformed)?;
        let mut groups = BTreeMap::new();
        for (&scheme, key) in &self.plan.keys {
            let of_key = commitments.get(&scheme).ok_or_else(Fault::engine)?;
            groups.insert(scheme, dealing::combine(key, self.plan.threshold, of_key)?);
        }
        let transcript = self.transcript(seen)?;
        Ok(Groups { groups, commitments, transcript })
    }

    /// Whether a list has one entry for each scheme that a dealer deals, in their order.
    fn is_of<T>(&self, dealer: PartyIndex, entries: &[(Scheme, T)]) -> bool {
        entries.iter().map(|&(scheme, _)| scheme).eq(self.plan.dealt_by(dealer))
    }

    fn transcript(&self, seen: &BTreeMap<PartyIndex, Vec<u8>>) -> Result<Digest, Fault> {
        let mut hash = Sha256::new_with_prefix(TRANSCRIPT_DOMAIN);
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(&self.context.session.0);
        let pairs = |indices: &BTreeMap<PartyIndex, PartyIndex>| -> Vec<u8> {
            indices.iter().flat_map(|(party, index)| [party.get(), index.get()]).collect()
        };
        field(&[self.plan.threshold.signers(), self.plan.threshold.parties()]);
        field(&pairs(&self.plan.receivers));
        for key in self.plan.keys.values() {
            field(&codec::encode(&key.group, MAX_GROUP_BYTES).map_err(|_| Fault::engine())?);
            field(&pairs(&key.dealers));
        }
        for (dealer, payload) in seen {
            field(&[dealer.get()]);
            field(payload);
        }
        Ok(hash.finalize().into())
    }
}

impl Staged for Reshare {
    type Output = ReshareOutput;

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn is_started(&self) -> bool {
        !matches!(self.stage, Stage::Ready)
    }

    /// Leaves one stage for the next. On a fault the stage stays [`Stage::Ended`]: what it held is dropped, and wiped.
    fn step(&mut self, received: &Received) -> Result<Step, Fault> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Committed { own, sub_shares } => self.echo(own, sub_shares, received),
            Stage::Echoed { seen, groups, sub_shares } => self.deal(&seen, groups, sub_shares, received),
            Stage::Dealt { groups, own } => self.confirm(groups, own, received),
            Stage::Confirmed { output, keys } => self.conclude(output, &keys, received),
            Stage::Ready | Stage::Ended => Err(Fault::engine()),
        }
    }
}

impl Party for Reshare {
    type Output = ReshareOutput;

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
