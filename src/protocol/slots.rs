//! One slot per sender and round: where a run keeps messages until a round is complete.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dropped, RunContext};
use crate::ids::PartyIndex;
use crate::secret::SecretBuffer;

/// The payloads of one complete round, by sender.
pub type Received = BTreeMap<PartyIndex, SecretBuffer>;

/// Takes at most one message per sender and round, from the open round on; hands out rounds when they are complete. A
/// round in which nobody says anything to this party is complete at once.
///
/// Memory is bounded by rounds x senders x the largest payload.
pub struct Slots {
    others: BTreeSet<PartyIndex>,
    /// Who says something in each round, from the first.
    senders: Vec<BTreeSet<PartyIndex>>,
    open_round: u8,
    last_round: u8,
    max_payload_bytes: usize,
    slots: BTreeMap<(u8, PartyIndex), SecretBuffer>,
}

impl Slots {
    /// Slots for rounds 1 to `rounds` of everyone but this party.
    #[must_use]
    pub fn new(context: &RunContext, rounds: u8, max_payload_bytes: usize) -> Self {
        let others: BTreeSet<PartyIndex> = context.others().collect();
        Self::of_senders(context, vec![others; usize::from(rounds)], max_payload_bytes)
    }

    /// Slots for one round after the other, in each of which only these parties say something.
    #[must_use]
    pub fn of_senders(context: &RunContext, mut senders: Vec<BTreeSet<PartyIndex>>, max_payload_bytes: usize) -> Self {
        for senders in &mut senders {
            senders.remove(&context.me);
        }
        Self {
            others: context.others().collect(),
            last_round: u8::try_from(senders.len()).unwrap_or(u8::MAX),
            senders,
            open_round: 1,
            max_payload_bytes,
            slots: BTreeMap::new(),
        }
    }

    /// The open round: beyond the last one when the run is over.
    #[must_use]
    pub fn open_round(&self) -> u8 {
        self.open_round
    }

    /// The largest payload a slot takes, in bytes.
    #[must_use]
    pub fn max_payload_bytes(&self) -> usize {
        self.max_payload_bytes
    }

    /// Keeps a message.
    ///
    /// # Errors
    /// Says why it was dropped instead.
    pub fn put(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<(), Dropped> {
        if self.open_round > self.last_round {
            return Err(Dropped::Ended);
        }
        if !self.others.contains(&from) {
            return Err(Dropped::NotAParticipant);
        }
        if !(self.open_round..=self.last_round).contains(&round) || !self.senders_of(round).contains(&from) {
            return Err(Dropped::WrongRound);
        }
        if payload.len() > self.max_payload_bytes {
            return Err(Dropped::TooLarge);
        }
        if self.slots.contains_key(&(round, from)) {
            return Err(Dropped::SlotTaken);
        }
        self.slots.insert((round, from), payload.to_vec().into());
        Ok(())
    }

    /// Whose message of the open round is missing.
    #[must_use]
    pub fn awaited(&self) -> BTreeSet<PartyIndex> {
        if self.open_round > self.last_round {
            return BTreeSet::new();
        }
        let senders = self.senders_of(self.open_round).iter().copied();
        senders.filter(|&party| !self.slots.contains_key(&(self.open_round, party))).collect()
    }

    /// Who says something in a round.
    fn senders_of(&self, round: u8) -> &BTreeSet<PartyIndex> {
        static NOBODY: BTreeSet<PartyIndex> = BTreeSet::new();
        self.senders.get(usize::from(round).wrapping_sub(1)).unwrap_or(&NOBODY)
    }

    /// The open round's messages, once all are there; the next round is open then.
    pub fn take_complete(&mut self) -> Option<Received> {
        if self.open_round > self.last_round || !self.awaited().is_empty() {
            return None;
        }
        let round = self.open_round;
        self.open_round += 1;
        let senders = self.senders_of(round).clone();
        Some(senders.into_iter().filter_map(|party| Some((party, self.slots.remove(&(round, party))?))).collect())
    }

    /// Ends the run: every later message is dropped, and what is kept is wiped.
    pub fn end(&mut self) {
        self.open_round = self.last_round.saturating_add(1);
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SheetHash;

    fn party(index: u8) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    fn slots() -> Slots {
        let parties = [1, 2, 3].map(party).into();
        Slots::new(&RunContext { session: SheetHash([7; 32]), me: party(2), parties }, 2, 4)
    }

    #[test]
    fn slots__should_hand_out_a_round_when_everyone_has_spoken() {
        let mut slots = slots();
        assert_eq!(slots.awaited(), [1, 3].map(party).into());
        slots.put(party(1), 1, b"a").unwrap();
        slots.put(party(1), 2, b"early").unwrap_err();
        slots.put(party(1), 2, b"next").unwrap();
        assert!(slots.take_complete().is_none());
        slots.put(party(3), 1, b"b").unwrap();
        assert_eq!(slots.take_complete().unwrap().len(), 2);
        assert_eq!((slots.open_round(), slots.awaited()), (2, [3].map(party).into()));
    }

    #[test]
    fn slots__should_wait_only_for_those_who_say_something_in_a_round() {
        let context = RunContext { session: SheetHash([7; 32]), me: party(2), parties: [1, 2, 3].map(party).into() };
        let senders = vec![[party(1), party(2)].into(), BTreeSet::new(), [party(3)].into()];
        let mut slots = Slots::of_senders(&context, senders, 4);
        assert_eq!(slots.put(party(3), 1, b"a"), Err(Dropped::WrongRound));
        slots.put(party(3), 3, b"c").unwrap();
        assert!(slots.take_complete().is_none());
        slots.put(party(1), 1, b"a").unwrap();
        assert_eq!(slots.take_complete().unwrap().len(), 1);
        assert!(slots.take_complete().unwrap().is_empty(), "nobody speaks in round 2");
        assert_eq!(slots.take_complete().unwrap().len(), 1);
        assert_eq!(slots.put(party(3), 3, b"c"), Err(Dropped::Ended));
    }

    #[test]
    fn slots__should_say_why_they_drop() {
        let mut slots = slots();
        slots.put(party(1), 1, b"a").unwrap();
        let dropped =
            |slots: &mut Slots, from, round, payload: &[u8]| slots.put(party(from), round, payload).unwrap_err();
        assert_eq!(dropped(&mut slots, 1, 1, b"b"), Dropped::SlotTaken);
        assert_eq!(dropped(&mut slots, 2, 1, b"b"), Dropped::NotAParticipant);
        assert_eq!(dropped(&mut slots, 9, 1, b"b"), Dropped::NotAParticipant);
        assert_eq!(dropped(&mut slots, 3, 0, b"b"), Dropped::WrongRound);
        assert_eq!(dropped(&mut slots, 3, 3, b"b"), Dropped::WrongRound);
        assert_eq!(dropped(&mut slots, 3, 1, b"12345"), Dropped::TooLarge);
        slots.end();
        assert_eq!(dropped(&mut slots, 3, 1, b"b"), Dropped::Ended);
    }
}
