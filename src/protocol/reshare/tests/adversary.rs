//! One corrupt party: whatever it sends, no honest party is named, none is done with other keys than the rest, and what
//! can be told is told.

use super::*;
use crate::protocol::Dropped;
use crate::protocol::testbed::{Envelope, mutations, run_with};

/// The session that all of these run: nodes 1 and 2 of three deal to 2, 3 and 4.
const DEALERS: [u8; 2] = [1, 2];
const RECEIVERS: [u8; 3] = [2, 3, 4];
const ROUNDS_OF_DEALERS: [u8; 4] = [1, 2, 3, 4];
const ROUNDS_OF_OTHERS: [u8; 2] = [2, 4];

fn session() -> Session {
    Wallet::new(2, &[1, 2, 3]).session(1, &DEALERS, 2, &RECEIVERS)
}

/// Who may be corrupt, with a round in which it says something.
fn corrupt_moments() -> impl Iterator<Item = (PartyIndex, u8)> {
    let moments = |index: u8| if DEALERS.contains(&index) { &ROUNDS_OF_DEALERS[..] } else { &ROUNDS_OF_OTHERS };
    (1..=4).flat_map(move |index| moments(index).iter().map(move |&round| (party(index), round)))
}

/// Nobody honest is named; whoever is done agrees with all who are done; and, if `caught`, somebody noticed.
fn check(session: &Session, outcome: &Outcome<ReshareOutput>, culprit: PartyIndex, caught: bool, what: &str) {
    for (&by, abort) in &outcome.aborts() {
        assert!(by == culprit || abort.culprits.iter().all(|&named| named == culprit), "{what}: {by} says {abort}");
        assert!(abort.ban.is_empty());
    }
    let honest = || outcome.endings.iter().filter(|&(&party, _)| party != culprit);
    let mut groups: Vec<&BTreeMap<Scheme, GroupKey>> = Vec::new();
    for (party, output) in honest().filter_map(|(&party, ending)| Some((party, ending.output()?))) {
        groups.push(&output.groups);
        for (scheme, share) in &output.shares {
            assert_eq!(Some(&share.index()), session.plan.receivers.get(&party), "{what}");
            assert_eq!(share.group(), &output.groups[scheme], "{what}: a share of another key");
            assert_eq!(share.public_key(), session.plan.keys[scheme].group.public_key(), "{what}");
        }
    }
    assert!(groups.windows(2).all(|pair| pair[0] == pair[1]), "{what}: the honest hold different keys");
    if caught {
        let named = |ending: &Ending<_>| ending.abort().is_some_and(|abort| abort.culprits == [culprit].into());
        assert!(honest().any(|(_, ending)| named(ending)), "{what}: went unnoticed");
    }
}

#[test]
fn reshare__should_name_the_sender_of_any_altered_message() {
    let session = session();
    for (culprit, round) in corrupt_moments() {
        for (name, mutate) in mutations() {
            // All recipients get the same altered bytes: one lie, consistently told.
            let outcome = run_with(session.parties(), |mut envelope| {
                if (envelope.from, envelope.round) == (culprit, round) {
                    envelope.payload = mutate(&envelope.payload);
                }
                vec![envelope]
            });
            let what = format!("party {culprit}, round {round}, {name}");
            check(&session, &outcome, culprit, true, &what);
            let mut honest = outcome.endings.iter().filter(|&(&party, _)| party != culprit);
            assert!(honest.all(|(_, ending)| ending.output().is_none()), "{what}: an honest party is done");
        }
    }
}

#[test]
fn reshare__should_not_let_an_altered_message_to_one_split_the_others() {
    let session = session();
    let victim = party(3);
    for (culprit, round) in corrupt_moments().filter(|&(culprit, _)| culprit != party(3)) {
        for (name, mutate) in mutations() {
            let outcome = run_with(session.parties(), |mut envelope| {
                if (envelope.from, envelope.to, envelope.round) == (culprit, victim, round) {
                    envelope.payload = mutate(&envelope.payload);
                }
                vec![envelope]
            });
            check(&session, &outcome, culprit, false, &format!("party {culprit}, round {round}, {name}"));
            assert!(outcome.endings[&victim].output().is_none());
        }
    }
}

#[test]
fn reshare__should_catch_a_dealer_that_deals_two_polynomials() {
    // Party 2 runs twice: one self talks to party 3, the other to everybody else. Each self hears everything.
    let session = session();
    let (culprit, victim) = (party(2), party(3));
    let mut twin = session.parties().remove(&culprit).unwrap();
    let mut for_victim: BTreeMap<u8, Vec<Outgoing>> = BTreeMap::new();
    for message in twin.start().unwrap().send {
        for_victim.entry(message.round).or_default().push(message);
    }
    let outcome = run_with(session.parties(), |mut envelope| {
        if envelope.to == culprit {
            for message in twin.receive(envelope.from, envelope.round, &envelope.payload).map_or(vec![], |p| p.send) {
                for_victim.entry(message.round).or_default().push(message);
            }
        }
        if (envelope.from, envelope.to) == (culprit, victim) {
            let replacement = for_victim.get(&envelope.round).and_then(|messages| {
                let is_for_victim = |to| matches!(to, Recipient::All) || to == Recipient::One(victim);
                messages.iter().find(|message| is_for_victim(message.to))
            });
            if let Some(message) = replacement {
                envelope.payload = message.payload.to_vec();
            }
        }
        vec![envelope]
    });
    check(&session, &outcome, culprit, false, "two polynomials");
    for index in [1, 3, 4] {
        let abort = outcome.endings[&party(index)].abort().expect("the honest abort");
        assert_eq!((abort.reason, abort.round), (AbortReason::Equivocation, 2), "party {index}");
    }
    let dealt = outcome.refused.iter().any(|refusal| refusal.envelope.round == 3);
    assert!(!dealt, "nothing secret leaves before all tables are equal");
}

#[test]
fn reshare__should_name_who_passes_off_anothers_message() {
    let session = session();
    let culprit = party(2);
    for round in 1..=4 {
        let outcome = run_with(session.parties(), |envelope| match envelope {
            own if (own.from, own.round) == (culprit, round) => vec![],
            other if other.round == round && other.to != culprit => {
                vec![Envelope { from: culprit, ..other.clone() }, other]
            }
            other => vec![other],
        });
        // Somebody else's echo is the right one to send: all are equal.
        check(&session, &outcome, culprit, round != 2, &format!("round {round}"));
    }
}

#[test]
fn reshare__should_name_who_swaps_its_recipients_shares() {
    let session = session();
    let (culprit, [three, four]) = (party(2), [3, 4].map(party));
    let outcome = run_with(session.parties(), |mut envelope| {
        if (envelope.from, envelope.round) == (culprit, 3) {
            envelope.to = if envelope.to == three { four } else { three };
        }
        vec![envelope]
    });
    check(&session, &outcome, culprit, true, "swapped shares");
    for honest in [three, four] {
        let abort = outcome.endings[&honest].abort().unwrap();
        assert_eq!((abort.reason, abort.round), (AbortReason::InvalidProof, 3));
    }
}

#[test]
fn reshare__should_name_who_replays_another_session() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let (first, second) = (wallet.session(1, &DEALERS, 2, &RECEIVERS), wallet.session(2, &DEALERS, 2, &RECEIVERS));
    let culprit = party(2);
    let mut earlier = BTreeMap::new();
    run_with(first.parties(), |envelope| {
        earlier.insert((envelope.from, envelope.to, envelope.round), envelope.payload.clone());
        vec![envelope]
    });
    for from_round in 2..=4 {
        let outcome = run_with(second.parties(), |mut envelope| {
            if envelope.from == culprit && envelope.round >= from_round {
                envelope.payload = earlier[&(envelope.from, envelope.to, envelope.round)].clone();
            }
            vec![envelope]
        });
        check(&second, &outcome, culprit, from_round != 2, &format!("from round {from_round}"));
        let mut honest = outcome.endings.iter().filter(|&(&party, _)| party != culprit);
        assert!(honest.all(|(_, ending)| ending.output().is_none()), "from round {from_round}");
    }
}

/// What is made of a dealer's commitments.
type Forge = fn(Vec<(Scheme, ByteBuf)>) -> Vec<(Scheme, ByteBuf)>;

#[test]
fn reshare__should_name_who_commits_to_what_the_protocol_does_not_allow() {
    /// The other order of the coefficients.
    fn reversed(commitment: &ByteBuf, point_len: usize) -> ByteBuf {
        ByteBuf::from(commitment.rchunks_exact(point_len).collect::<Vec<_>>().concat())
    }
    let forgeries: [(&str, AbortReason, Forge); 8] = [
        ("another part of the key", AbortReason::InvalidProof, |mut list| {
            list[0].1 = reversed(&list[0].1, 33);
            list
        }),
        ("another part of the Ed25519 key", AbortReason::InvalidProof, |mut list| {
            list[1].1 = reversed(&list[1].1, 32);
            list
        }),
        ("threshold raised", AbortReason::Malformed, |mut list| {
            list[2].1.extend_from_within(..33);
            list
        }),
        ("threshold lowered", AbortReason::Malformed, |mut list| {
            list[2].1.truncate(33);
            list
        }),
        ("scheme missing", AbortReason::Malformed, |mut list| {
            list.pop();
            list
        }),
        ("scheme twice", AbortReason::Malformed, |mut list| {
            list.insert(0, list[0].clone());
            list
        }),
        ("schemes out of order", AbortReason::Malformed, |mut list| {
            list.swap(0, 1);
            list
        }),
        ("no points", AbortReason::Malformed, |mut list| {
            list[1].1.fill(0xff);
            list
        }),
    ];
    let session = session();
    let culprit = party(1);
    for (what, reason, forge) in forgeries {
        let outcome = run_with(session.parties(), |mut envelope| {
            if (envelope.from, envelope.round) == (culprit, 1) {
                let Commitments(list) = codec::decode(&envelope.payload, MAX_PAYLOAD_BYTES).unwrap();
                envelope.payload = codec::encode(&Commitments(forge(list)), MAX_PAYLOAD_BYTES).unwrap();
            }
            vec![envelope]
        });
        check(&session, &outcome, culprit, true, what);
        for index in 2..=4 {
            let abort = outcome.endings[&party(index)].abort().unwrap();
            assert_eq!((abort.reason, abort.round), (reason, 1), "{what}");
        }
    }
}

#[test]
fn reshare__should_end_where_commitments_cancel_each_other_out() {
    // A dealer that sees the other's commitments first, and makes the second coefficients cancel: the new threshold would
    // be one.
    let session = session();
    let mut first = None;
    let outcome = run_with(session.parties(), |mut envelope| {
        if (envelope.from, envelope.round) == (party(1), 1) {
            first = Some(envelope.payload.clone());
        }
        if (envelope.from, envelope.round) == (party(2), 1) {
            let Commitments(others) = codec::decode(first.as_ref().unwrap(), MAX_PAYLOAD_BYTES).unwrap();
            let Commitments(mut own) = codec::decode(&envelope.payload, MAX_PAYLOAD_BYTES).unwrap();
            let negated: Vec<u8> = [&[others[0].1[33] ^ 1][..], &others[0].1[34..]].concat();
            own[0].1[33..].copy_from_slice(&negated);
            envelope.payload = codec::encode(&Commitments(own), MAX_PAYLOAD_BYTES).unwrap();
        }
        vec![envelope]
    });
    for index in [1, 3, 4] {
        let abort = outcome.endings[&party(index)].abort().unwrap();
        let expected = (AbortReason::InvalidProof, 1, BTreeSet::new());
        assert_eq!((abort.reason, abort.round, abort.culprits.clone()), expected);
    }
}

#[test]
fn reshare__should_drop_what_no_party_may_send() {
    type Alter = fn(Envelope) -> Envelope;
    let session = session();
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
        let outcome = run_with(session.parties(), |envelope| {
            if envelope.from == culprit {
                vec![alter(envelope.clone()), envelope.clone(), envelope]
            } else {
                vec![envelope]
            }
        });
        let reasons: BTreeSet<_> = outcome.refused.iter().map(|refusal| format!("{:?}", refusal.reason)).collect();
        let late = ["SlotTaken", "WrongRound", "Ended"];
        let expected = |text: &String| *text == format!("{reason:?}") || late.contains(&text.as_str());
        assert!(reasons.contains(&format!("{reason:?}")) && reasons.iter().all(expected), "{reasons:?}");
        session.wallet(outcome);
    }
}

#[test]
fn reshare__should_take_no_deal_from_those_who_do_not_deal_and_none_as_a_mere_dealer() {
    let session = session();
    let outcome = run_with(session.parties(), |envelope| match (envelope.from.get(), envelope.round) {
        (2, 3) => {
            let from_receiver =
                Envelope { from: party(if envelope.to == party(3) { 4 } else { 3 }), ..envelope.clone() };
            let to_dealer = Envelope { to: party(1), ..envelope.clone() };
            vec![from_receiver, to_dealer, envelope]
        }
        _ => vec![envelope],
    });
    assert_eq!(outcome.refused.len(), 4);
    assert!(outcome.refused.iter().all(|refusal| refusal.reason == Dropped::WrongRound));
    session.wallet(outcome);
}

#[test]
fn reshare__should_take_nothing_after_its_end() {
    let session = session();
    let mut engine = session.parties().remove(&party(3)).unwrap();
    engine.start().unwrap();
    engine.receive(party(2), 1, b"nonsense").unwrap();
    let abort = engine.receive(party(1), 1, b"nonsense").err().unwrap();
    assert_eq!((abort.reason, abort.culprits), (AbortReason::Malformed, [1, 2].map(party).into()));
    for round in 1..=4 {
        let step = engine.receive(party(2), round, b"more").unwrap();
        assert_eq!(step.dropped, Some(Dropped::Ended));
    }
    assert!(engine.awaited().is_empty());
    assert!(engine.start().unwrap().send.is_empty());
}
