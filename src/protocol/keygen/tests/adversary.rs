//! One corrupt party: whatever it sends, no honest party is named, none is done with other keys than the rest, and what
//! can be told is told.

use super::super::*;
use super::{all_schemes, parties, party};
use crate::protocol::Dropped;
use crate::protocol::rng;
use crate::protocol::testbed::{Ending, Envelope, Outcome, contexts, mutations, run_with};

/// Nobody honest is named; whoever is done agrees with all who are done; and, if `caught`, somebody noticed.
fn check(outcome: &Outcome<KeygenOutput>, culprit: PartyIndex, caught: bool, what: &str) {
    for (&by, abort) in &outcome.aborts() {
        assert!(by == culprit || abort.culprits.iter().all(|&named| named == culprit), "{what}: {by} says {abort}");
        assert!(abort.ban.is_empty());
    }
    let honest = outcome.endings.iter().filter(|&(&party, _)| party != culprit);
    let keys: BTreeSet<_> = honest
        .clone()
        .filter_map(|(_, ending)| ending.output())
        .map(|output| output.shares.values().map(KeyShare::public_key).collect::<Vec<_>>())
        .collect();
    assert!(keys.len() <= 1, "{what}: the honest hold different keys");
    if caught {
        let named = |ending: &Ending<_>| ending.abort().is_some_and(|abort| abort.culprits == [culprit].into());
        assert!(honest.clone().any(|(_, ending)| named(ending)), "{what}: went unnoticed");
    }
}

#[test]
fn keygen__should_name_the_sender_of_any_altered_message() {
    let culprit = party(2);
    for round in 1..=4 {
        for (name, mutate) in mutations() {
            // All recipients get the same altered bytes: one lie, consistently told.
            let outcome = run_with(parties(1, 2, 3, &all_schemes()), |mut envelope| {
                if (envelope.from, envelope.round) == (culprit, round) {
                    envelope.payload = mutate(&envelope.payload);
                }
                vec![envelope]
            });
            let what = format!("round {round}, {name}");
            check(&outcome, culprit, true, &what);
            for index in [1, 3] {
                assert!(outcome.endings[&party(index)].output().is_none(), "{what}: an honest party is done");
            }
        }
    }
}

#[test]
fn keygen__should_not_let_an_altered_message_to_one_split_the_others() {
    let (culprit, victim) = (party(2), party(3));
    for round in 1..=4 {
        for (name, mutate) in mutations() {
            let outcome = run_with(parties(1, 2, 3, &all_schemes()), |mut envelope| {
                if (envelope.from, envelope.to, envelope.round) == (culprit, victim, round) {
                    envelope.payload = mutate(&envelope.payload);
                }
                vec![envelope]
            });
            check(&outcome, culprit, false, &format!("round {round}, {name}"));
            assert!(outcome.endings[&victim].output().is_none());
        }
    }
}

#[test]
fn keygen__should_catch_a_dealer_that_deals_two_polynomials() {
    // Party 2 runs twice: one self talks to party 3, the other to everybody else. Each self hears everything.
    for (t, n) in [(2, 3), (2, 4), (3, 5)] {
        let (culprit, victim) = (party(2), party(3));
        let mut twin = parties(1, t, n, &all_schemes()).remove(&culprit).unwrap();
        let mut for_victim: BTreeMap<u8, Vec<Outgoing>> = BTreeMap::new();
        for message in twin.start().unwrap().send {
            for_victim.entry(message.round).or_default().push(message);
        }
        let outcome = run_with(parties(1, t, n, &all_schemes()), |mut envelope| {
            if envelope.to == culprit {
                for message in twin.receive(envelope.from, envelope.round, &envelope.payload).map_or(vec![], |p| p.send)
                {
                    for_victim.entry(message.round).or_default().push(message);
                }
            }
            if (envelope.from, envelope.to) == (culprit, victim) {
                let replacement = for_victim.get(&envelope.round).and_then(|messages| {
                    messages
                        .iter()
                        .find(|message| matches!(message.to, Recipient::All) || message.to == Recipient::One(victim))
                });
                if let Some(message) = replacement {
                    envelope.payload = message.payload.to_vec();
                }
            }
            vec![envelope]
        });
        check(&outcome, culprit, false, &format!("{t}-of-{n}"));
        for index in (1..=n).filter(|&index| index != 2) {
            let abort = outcome.endings[&party(index)].abort().expect("the honest abort");
            assert_eq!((abort.reason, abort.round), (AbortReason::Equivocation, 2), "{t}-of-{n}, party {index}");
        }
        // With one corrupt party among four, the victim knows that two witnesses cannot both lie.
        let victims = outcome.endings[&victim].abort().unwrap();
        let certain = if (t, n) == (2, 4) || (t, n) == (3, 5) { [culprit].into() } else { BTreeSet::new() };
        assert_eq!(victims.culprits, certain, "{t}-of-{n}");
    }
}

#[test]
fn keygen__should_name_who_opens_another_commitment() {
    // A whole second run's reveal: well-formed, with valid proofs, and not what was committed to.
    let culprit = party(3);
    let mut others = Vec::new();
    run_with(parties(1, 2, 3, &all_schemes()), |envelope| {
        others.push(envelope.clone());
        vec![envelope]
    });
    let outcome = run_with(parties(1, 2, 3, &all_schemes()), |mut envelope| {
        if (envelope.from, envelope.round) == (culprit, 2) {
            let own: Reveal = codec::decode(&envelope.payload, MAX_PAYLOAD_BYTES).unwrap();
            let foreign = others.iter().find(|e| (e.from, e.round) == (culprit, 2)).unwrap();
            let foreign: Reveal = codec::decode(&foreign.payload, MAX_PAYLOAD_BYTES).unwrap();
            let mixed = Reveal { opening: foreign.opening, seen: own.seen };
            envelope.payload = codec::encode(&mixed, MAX_PAYLOAD_BYTES).unwrap();
        }
        vec![envelope]
    });
    check(&outcome, culprit, true, "foreign opening");
    assert!(outcome.aborts().values().any(|abort| abort.reason == AbortReason::InvalidProof && abort.round == 2));
}

#[test]
fn keygen__should_name_who_passes_off_anothers_message() {
    let culprit = party(2);
    for round in 1..=4 {
        let outcome = run_with(parties(1, 2, 3, &all_schemes()), |envelope| match envelope {
            own if (own.from, own.round) == (culprit, round) => vec![],
            other if other.round == round && other.to != culprit => {
                vec![Envelope { from: culprit, ..other.clone() }, other]
            }
            other => vec![other],
        });
        check(&outcome, culprit, true, &format!("round {round}"));
    }
}

#[test]
fn keygen__should_name_who_swaps_its_recipients_shares() {
    let (culprit, [one, three]) = (party(2), [1, 3].map(party));
    let outcome = run_with(parties(1, 2, 3, &all_schemes()), |mut envelope| {
        if (envelope.from, envelope.round) == (culprit, 3) {
            envelope.to = if envelope.to == one { three } else { one };
        }
        vec![envelope]
    });
    check(&outcome, culprit, true, "swapped shares");
    for honest in [one, three] {
        let abort = outcome.endings[&honest].abort().unwrap();
        assert_eq!((abort.reason, abort.round), (AbortReason::InvalidProof, 3));
    }
}

#[test]
fn keygen__should_name_who_replays_another_session() {
    let culprit = party(2);
    let mut earlier = BTreeMap::new();
    run_with(parties(1, 2, 3, &all_schemes()), |envelope| {
        earlier.insert((envelope.from, envelope.to, envelope.round), envelope.payload.clone());
        vec![envelope]
    });
    for from_round in 1..=4 {
        let outcome = run_with(parties(2, 2, 3, &all_schemes()), |mut envelope| {
            if envelope.from == culprit && envelope.round >= from_round {
                envelope.payload = earlier[&(envelope.from, envelope.to, envelope.round)].clone();
            }
            vec![envelope]
        });
        check(&outcome, culprit, true, &format!("from round {from_round}"));
    }
}

/// The packages of an opening.
type Packages = Vec<(Scheme, ByteBuf)>;
/// What is made of them.
type Forge = fn(Packages) -> Packages;

/// A party that commits to, and opens, something else than its packages.
struct Forger {
    inner: Keygen,
    forge: Forge,
}

impl Party for Forger {
    type Output = KeygenOutput;

    fn start(&mut self) -> Result<Step, Abort> {
        self.inner.start()?;
        let Stage::Committed { opening, commitment, .. } = &mut self.inner.stage else { panic!("not committed") };
        let context = &self.inner.context;
        let Opening(packages) = codec::decode(opening, MAX_PAYLOAD_BYTES).unwrap();
        *opening = codec::encode(&Opening((self.forge)(packages)), MAX_PAYLOAD_BYTES).unwrap();
        *commitment = echo::digest(COMMITMENT_DOMAIN, context, context.me, opening);
        Ok(broadcast(1, &Commitment { digest: ByteArray::new(*commitment) }, MAX_PAYLOAD_BYTES).unwrap())
    }

    fn receive(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Step, Abort> {
        self.inner.receive(from, round, payload)
    }

    fn round(&self) -> u8 {
        self.inner.round()
    }

    fn awaited(&self) -> BTreeSet<PartyIndex> {
        self.inner.awaited()
    }

    fn max_payload_bytes(&self) -> usize {
        self.inner.max_payload_bytes()
    }
}

/// A package that another party, or one with another threshold, would send.
fn package_of(scheme: Scheme, index: u8, t: u8, n: u8) -> ByteBuf {
    let threshold = Threshold::new(t, n).unwrap();
    let dealer = dealing::begin(scheme, party(index), threshold, &mut rng::os()).unwrap();
    ByteBuf::from(dealer.package())
}

#[test]
fn keygen__should_name_who_deals_what_the_protocol_does_not_allow() {
    let forgeries: [(&str, AbortReason, Forge); 9] = [
        ("threshold raised", AbortReason::Malformed, |mut packages| {
            packages[1].1 = package_of(packages[1].0, 2, 4, 5);
            packages
        }),
        ("threshold lowered", AbortReason::Malformed, |mut packages| {
            packages[0].1 = package_of(packages[0].0, 2, 2, 5);
            packages
        }),
        ("another party's proof", AbortReason::InvalidProof, |mut packages| {
            packages[2].1 = package_of(packages[2].0, 1, 3, 5);
            packages
        }),
        ("scheme missing", AbortReason::Malformed, |mut packages| {
            packages.pop();
            packages
        }),
        ("scheme twice", AbortReason::Malformed, |mut packages| {
            packages.insert(0, packages[0].clone());
            packages
        }),
        ("schemes out of order", AbortReason::Malformed, |mut packages| {
            packages.swap(0, 1);
            packages
        }),
        ("packages under other schemes", AbortReason::Malformed, |mut packages| {
            let ecdsa = packages[0].1.clone();
            packages[0].1 = std::mem::replace(&mut packages[2].1, ecdsa);
            packages
        }),
        ("bytes after the package", AbortReason::Malformed, |mut packages| {
            packages[0].1.push(0);
            packages
        }),
        ("no points", AbortReason::Malformed, |mut packages| {
            packages[1].1[6..].fill(0xff);
            packages
        }),
    ];
    let culprit = party(2);
    for (what, reason, forge) in forgeries {
        let mut engines = parties(1, 3, 5, &all_schemes());
        let context = contexts(1, &[1, 2, 3, 4, 5]).remove(1);
        let inner = Keygen::new(context, Threshold::new(3, 5).unwrap(), &all_schemes(), rng::os()).unwrap();
        engines.insert(culprit, Box::new(Forger { inner, forge }));
        let outcome = run_with(engines, |envelope| vec![envelope]);
        check(&outcome, culprit, true, what);
        for index in [1, 3, 4, 5] {
            let abort = outcome.endings[&party(index)].abort().unwrap();
            assert_eq!((abort.reason, abort.round), (reason, 2), "{what}");
        }
    }
}

#[test]
fn keygen__should_drop_what_no_party_may_send() {
    type Alter = fn(Envelope) -> Envelope;
    let culprit = party(2);
    let altered: [(Alter, Dropped); 5] = [
        (|envelope| Envelope { round: 0, ..envelope }, Dropped::WrongRound),
        (|envelope| Envelope { round: 5, ..envelope }, Dropped::WrongRound),
        (|envelope| Envelope { from: party(9), ..envelope }, Dropped::NotAParticipant),
        (|envelope| Envelope { from: envelope.to, ..envelope }, Dropped::NotAParticipant),
        (|envelope| Envelope { payload: vec![0; MAX_PAYLOAD_BYTES + 1], ..envelope }, Dropped::TooLarge),
    ];
    for (alter, reason) in altered {
        // The dropped message does no harm: the right one follows it, and then again, in vain.
        let outcome = run_with(parties(1, 2, 3, &all_schemes()), |envelope| {
            if envelope.from == culprit {
                vec![alter(envelope.clone()), envelope.clone(), envelope]
            } else {
                vec![envelope]
            }
        });
        let reasons: BTreeSet<_> = outcome.refused.iter().map(|refusal| format!("{:?}", refusal.reason)).collect();
        assert!(reasons.contains(&format!("{reason:?}")), "{reasons:?}");
        let late = ["SlotTaken", "WrongRound", "Ended"];
        let expected = |text: &String| *text == format!("{reason:?}") || late.contains(&text.as_str());
        assert!(reasons.iter().all(expected), "{reasons:?}");
        super::agreed(&outcome.into_outputs().unwrap());
    }
}

#[test]
fn keygen__should_take_nothing_after_its_end() {
    let mut engine = parties(1, 2, 3, &all_schemes()).remove(&party(1)).unwrap();
    engine.start().unwrap();
    engine.receive(party(2), 1, b"nonsense").unwrap();
    let abort = engine.receive(party(3), 1, b"nonsense").err().unwrap();
    assert_eq!((abort.reason, abort.culprits), (AbortReason::Malformed, [2, 3].map(party).into()));
    for round in 1..=4 {
        let step = engine.receive(party(2), round, b"more").unwrap();
        assert_eq!(step.dropped, Some(Dropped::Ended));
    }
    assert!(engine.awaited().is_empty());
    assert!(engine.start().unwrap().send.is_empty());
}
