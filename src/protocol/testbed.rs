//! Runs the parties of one protocol against each other in a loop: no runtime, no clock, and an adversary's hook on
//! every message.
//!
//! ```text
//!   Party ──▶ one envelope per recipient ──▶ hook (pass on, change, redirect, drop, repeat) ──▶ Party
//! ```
//!
//! A run ends when no message is under way any more: then each party is done, has aborted, or still waits.
#![expect(clippy::unwrap_used, reason = "the harness of tests panics where a test is wrong")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use frost_core::keys::{IdentifierList, KeyPackage, generate_with_dealer};

use super::rng::EngineRng;
use super::share::KeyShare;
use super::share::suite::with_suite;
use super::{Abort, Dropped, Outgoing, Party, Progress, Recipient, RunContext};
use crate::ids::{PartyIndex, Scheme, SheetHash, Threshold};

/// A message under way from one party to one other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it: what the receiver is told, and what a real transport authenticates.
    pub from: PartyIndex,
    /// Who gets it.
    pub to: PartyIndex,
    /// Its round.
    pub round: u8,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// How a run ended for one party.
#[derive(Debug)]
pub enum Ending<O> {
    /// With an output.
    Done(O),
    /// Without.
    Aborted(Abort),
    /// Not at all: nothing more came.
    Waiting {
        /// The open round.
        round: u8,
        /// For whose messages.
        awaited: BTreeSet<PartyIndex>,
    },
}

impl<O> Ending<O> {
    /// The output, if there is one.
    pub fn output(&self) -> Option<&O> {
        match self {
            Self::Done(output) => Some(output),
            Self::Aborted(_) | Self::Waiting { .. } => None,
        }
    }

    /// The abort, if there was one.
    pub fn abort(&self) -> Option<&Abort> {
        match self {
            Self::Aborted(abort) => Some(abort),
            Self::Done(_) | Self::Waiting { .. } => None,
        }
    }
}

/// A message that a party did not take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The message.
    pub envelope: Envelope,
    /// Why.
    pub reason: Dropped,
}

/// What became of a run.
#[derive(Debug)]
pub struct Outcome<O> {
    /// How it ended for each party.
    pub endings: BTreeMap<PartyIndex, Ending<O>>,
    /// Every message that was not taken.
    pub refused: Vec<Refusal>,
}

impl<O> Outcome<O> {
    /// All outputs, if every party has one.
    pub fn into_outputs(self) -> Option<BTreeMap<PartyIndex, O>> {
        let outputs = self.endings.into_iter().map(|(party, ending)| match ending {
            Ending::Done(output) => Some((party, output)),
            Ending::Aborted(_) | Ending::Waiting { .. } => None,
        });
        outputs.collect()
    }

    /// Every abort, by the party that noticed.
    pub fn aborts(&self) -> BTreeMap<PartyIndex, &Abort> {
        self.endings.iter().filter_map(|(&party, ending)| Some((party, ending.abort()?))).collect()
    }
}

/// The parties of a run, by index.
pub type Parties<O> = BTreeMap<PartyIndex, Box<dyn Party<Output = O>>>;

/// Runs `parties` with every message as sent, first in first out.
pub fn run<O>(parties: Parties<O>) -> Outcome<O> {
    run_with(parties, |envelope| vec![envelope])
}

/// Runs `parties` to the end. `hook` gets every message once per recipient and says what is delivered in its place.
pub fn run_with<O>(parties: Parties<O>, hook: impl FnMut(Envelope) -> Vec<Envelope>) -> Outcome<O> {
    run_in_order(parties, hook, |_| 0)
}

/// As [`run_with`], and `pick` says which of the messages under way (it is told how many) arrives next: its answer is
/// taken modulo their number.
pub fn run_in_order<O>(
    parties: Parties<O>,
    hook: impl FnMut(Envelope) -> Vec<Envelope>,
    mut pick: impl FnMut(usize) -> usize,
) -> Outcome<O> {
    let members = parties.keys().copied().collect();
    let mut loop_state = Loop { members, parties, hook, queue: VecDeque::new(), endings: BTreeMap::new() };
    let mut refused = Vec::new();
    for party in loop_state.members.clone() {
        let started = loop_state.parties.get_mut(&party).map(|engine| engine.start());
        if let Some(step) = started {
            loop_state.settle(party, step);
        }
    }
    while !loop_state.queue.is_empty() {
        let next = pick(loop_state.queue.len()) % loop_state.queue.len();
        let Some(envelope) = loop_state.queue.remove(next) else { break };
        let Some(engine) = loop_state.parties.get_mut(&envelope.to) else { continue };
        let step = engine.receive(envelope.from, envelope.round, &envelope.payload);
        if let Ok(Progress { dropped: Some(reason), .. }) = &step {
            refused.push(Refusal { envelope: envelope.clone(), reason: *reason });
        }
        loop_state.settle(envelope.to, step);
    }
    let Loop { parties, mut endings, .. } = loop_state;
    for (party, engine) in parties {
        endings.entry(party).or_insert_with(|| Ending::Waiting { round: engine.round(), awaited: engine.awaited() });
    }
    Outcome { endings, refused }
}

/// A run in progress.
struct Loop<O, H> {
    members: BTreeSet<PartyIndex>,
    parties: Parties<O>,
    hook: H,
    queue: VecDeque<Envelope>,
    endings: BTreeMap<PartyIndex, Ending<O>>,
}

impl<O, H: FnMut(Envelope) -> Vec<Envelope>> Loop<O, H> {
    /// Sends what a step wants sent, and notes its output or abort. The first ending of a party stands.
    fn settle(&mut self, party: PartyIndex, step: Result<Progress<O>, Abort>) {
        let ending = match step {
            Ok(progress) => {
                progress.send.iter().for_each(|message| self.send(party, message));
                progress.output.map(Ending::Done)
            }
            Err(abort) => Some(Ending::Aborted(abort)),
        };
        if let Some(ending) = ending {
            self.endings.entry(party).or_insert(ending);
        }
    }

    fn send(&mut self, from: PartyIndex, message: &Outgoing) {
        let recipients: Vec<PartyIndex> = match message.to {
            Recipient::One(to) => vec![to],
            Recipient::All => self.members.iter().copied().filter(|&to| to != from).collect(),
        };
        for to in recipients {
            let envelope = Envelope { from, to, round: message.round, payload: message.payload.to_vec() };
            self.queue.extend((self.hook)(envelope));
        }
    }
}

/// The contexts of a run between `parties`, whose session is named by `session` 32 times over.
///
/// # Panics
/// When an index is zero.
#[must_use]
pub fn contexts(session: u8, parties: &[u8]) -> Vec<RunContext> {
    let members: BTreeSet<PartyIndex> = parties.iter().map(|&index| PartyIndex::try_from(index).unwrap()).collect();
    let context = |&me: &PartyIndex| RunContext { session: SheetHash([session; 32]), me, parties: members.clone() };
    members.iter().map(context).collect()
}

/// Every subset of `size` of the parties 1 to `parties`, ascending.
#[must_use]
pub fn subsets(parties: u8, size: u8) -> Vec<Vec<u8>> {
    if size == 0 {
        return vec![vec![]];
    }
    let with_last = |last: u8| {
        subsets(last - 1, size - 1).into_iter().map(move |mut subset| {
            subset.push(last);
            subset
        })
    };
    (size..=parties).flat_map(with_last).collect()
}

/// A named change of a message's bytes.
pub type Mutation = (String, Box<dyn Fn(&[u8]) -> Vec<u8>>);

/// What an adversary without imagination does to a message that is not empty: every wrong length, and one bit flipped at
/// each of 48 places.
#[must_use]
pub fn mutations() -> Vec<Mutation> {
    const PLACES: usize = 48;
    let mut all: Vec<Mutation> = vec![
        ("empty".to_owned(), Box::new(|_| vec![])),
        ("one byte less".to_owned(), Box::new(|bytes| bytes.split_last().map_or(vec![], |(_, most)| most.to_vec()))),
        ("half".to_owned(), Box::new(|bytes| bytes.iter().copied().take(bytes.len() / 2).collect())),
        ("one byte more".to_owned(), Box::new(|bytes| [bytes, &[0]].concat())),
        ("twice".to_owned(), Box::new(|bytes| [bytes, bytes].concat())),
        ("zeros".to_owned(), Box::new(|bytes| vec![0; bytes.len()])),
    ];
    for place in 0..PLACES {
        let flip = move |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = place * bytes.len() / PLACES;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (place % 8);
            }
            bytes
        };
        all.push((format!("bit flipped at {place}/{PLACES}"), Box::new(flip)));
    }
    all
}

/// A key that a dealer knows, shared out: for tests of what comes after key generation. In the order of the parties.
///
/// # Panics
/// When the dealer's shares are not accepted as shares, which would be the finding of the test.
#[must_use]
pub fn deal(scheme: Scheme, threshold: Threshold, rng: &mut dyn EngineRng) -> Vec<KeyShare> {
    let (t, n) = (u16::from(threshold.signers()), u16::from(threshold.parties()));
    let mut rng = rng;
    with_suite!(scheme, C => {
        let (shares, public) = generate_with_dealer::<C, _>(n, t, IdentifierList::Default, &mut rng).unwrap();
        let share = |(index, share): (u8, _)| {
            let key = KeyPackage::<C>::try_from(share).unwrap();
            let key = KeyPackage::new(
                *key.identifier(), *key.signing_share(), *key.verifying_share(), *public.verifying_key(), t,
            );
            KeyShare::from_frost::<C>(PartyIndex::try_from(index).unwrap(), threshold, &key, &public).unwrap()
        };
        (1..).zip(shares.into_values()).map(share).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one byte to everybody and ends when everybody else's has come.
    struct Greeter {
        context: RunContext,
        heard: BTreeMap<PartyIndex, Vec<u8>>,
    }

    impl Party for Greeter {
        type Output = BTreeMap<PartyIndex, Vec<u8>>;

        fn start(&mut self) -> Result<Progress<Self::Output>, Abort> {
            let payload = vec![self.context.me.get()].into();
            Ok(Progress { send: vec![Outgoing { to: Recipient::All, round: 1, payload }], ..Progress::default() })
        }

        fn receive(&mut self, from: PartyIndex, _: u8, payload: &[u8]) -> Result<Progress<Self::Output>, Abort> {
            self.heard.insert(from, payload.to_vec());
            let output = self.awaited().is_empty().then(|| self.heard.clone());
            Ok(Progress { output, ..Progress::default() })
        }

        fn round(&self) -> u8 {
            1
        }

        fn awaited(&self) -> BTreeSet<PartyIndex> {
            self.context.others().filter(|party| !self.heard.contains_key(party)).collect()
        }

        fn max_payload_bytes(&self) -> usize {
            1
        }
    }

    fn greeters() -> Parties<BTreeMap<PartyIndex, Vec<u8>>> {
        let greeter = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = _>>) {
            (context.me, Box::new(Greeter { context, heard: BTreeMap::new() }))
        };
        contexts(1, &[1, 2, 3]).into_iter().map(greeter).collect()
    }

    #[test]
    fn testbed__should_deliver_to_everyone_else_in_any_order() {
        for stride in 0..4 {
            let outputs = run_in_order(greeters(), |envelope| vec![envelope], |len| len * stride / 3);
            for (party, heard) in outputs.into_outputs().unwrap() {
                assert_eq!(heard.len(), 2);
                assert!(heard.iter().all(|(from, payload)| *from != party && payload == &[from.get()]));
            }
        }
    }

    #[test]
    fn testbed__should_say_who_still_waits_when_a_message_is_lost() {
        let [one, two] = [1, 2].map(|index| PartyIndex::try_from(index).unwrap());
        let outcome =
            run_with(
                greeters(),
                |envelope| {
                    if (envelope.from, envelope.to) == (one, two) { vec![] } else { vec![envelope] }
                },
            );
        assert!(matches!(&outcome.endings[&two], Ending::Waiting { round: 1, awaited } if *awaited == [one].into()));
        assert!(outcome.endings[&one].output().is_some());
    }

    #[test]
    fn subsets__should_list_each_once() {
        assert_eq!(subsets(3, 2), [[1, 2], [1, 3], [2, 3]]);
        assert_eq!(subsets(5, 3).len(), 10);
    }
}
