//! One corrupt signer: whatever it sends, there is no signature that does not verify, no honest signer is named, and
//! what can be told is told.

use super::*;
use crate::protocol::Dropped;
use crate::protocol::testbed::{Ending, Envelope, Outcome, mutations, run_with};
use crate::wire::codec;

/// Nobody honest is named, every signature verifies; and, if `caught`, somebody honest names the culprit.
fn check(outcome: &Outcome<Signature>, key: &PublicKey, culprit: PartyIndex, caught: bool, what: &str) {
    let honest = outcome.endings.iter().filter(|&(&party, _)| party != culprit);
    let mut named = false;
    for (party, ending) in honest {
        match ending {
            Ending::Done(signature) => assert_eq!(verify(key, MESSAGE, None, signature), Ok(()), "{what}"),
            Ending::Aborted(abort) => {
                assert!(abort.culprits.iter().all(|&named| named == culprit), "{what}: {party} says {abort}");
                assert!(abort.ban.is_empty());
                named |= abort.culprits.contains(&culprit);
            }
            Ending::Waiting { .. } => {}
        }
    }
    assert!(named || !caught, "{what}: went unnoticed");
}

#[test]
fn signing__should_name_the_sender_of_any_altered_message() {
    let culprit = party(2);
    for scheme in SCHEMES {
        let shares = shares(scheme, 3, 5);
        for round in 1..=2 {
            for (name, mutate) in mutations() {
                let outcome = run_with(signers(1, &shares, &[1, 2, 4], &[3], MESSAGE, None), |mut envelope| {
                    if (envelope.from, envelope.round) == (culprit, round) {
                        envelope.payload = mutate(&envelope.payload);
                    }
                    vec![envelope]
                });
                let what = format!("{scheme}, round {round}, {name}");
                check(&outcome, &derived(&shares[0], &[3]).public_key, culprit, true, &what);
                assert!([1, 4].iter().all(|&index| outcome.endings[&party(index)].output().is_none()), "{what}");
            }
        }
    }
}

#[test]
fn signing__should_name_no_honest_signer_for_what_only_one_got() {
    let (culprit, victim) = (party(2), party(4));
    let shares = shares(Scheme::Bip340, 3, 5);
    for round in 1..=2 {
        for (name, mutate) in mutations() {
            let outcome = run_with(signers(1, &shares, &[1, 2, 4], &[], MESSAGE, None), |mut envelope| {
                if (envelope.from, envelope.to, envelope.round) == (culprit, victim, round) {
                    envelope.payload = mutate(&envelope.payload);
                }
                vec![envelope]
            });
            check(&outcome, &shares[0].public_key(), culprit, false, &format!("round {round}, {name}"));
            assert!(outcome.endings[&victim].output().is_none());
        }
    }
}

/// Records what party `culprit` sends to each in an honest run.
fn recorded(shares: &[KeyShare], subset: &[u8], culprit: PartyIndex) -> BTreeMap<(PartyIndex, u8), Vec<u8>> {
    let mut sent = BTreeMap::new();
    run_with(signers(9, shares, subset, &[], MESSAGE, None), |envelope| {
        if envelope.from == culprit {
            sent.insert((envelope.to, envelope.round), envelope.payload.clone());
        }
        vec![envelope]
    });
    sent
}

#[test]
fn signing__should_not_blame_the_honest_when_two_commitments_are_sent() {
    // Both are valid: the shares of the honest fail for each other, through no fault of theirs.
    let (culprit, victim) = (party(2), party(4));
    for scheme in SCHEMES {
        let shares = shares(scheme, 3, 5);
        let other = recorded(&shares, &[1, 2, 4], culprit);
        let outcome = run_with(signers(1, &shares, &[1, 2, 4], &[], MESSAGE, None), |mut envelope| {
            if (envelope.from, envelope.to, envelope.round) == (culprit, victim, 1) {
                envelope.payload = other[&(victim, 1)].clone();
            }
            vec![envelope]
        });
        check(&outcome, &shares[0].public_key(), culprit, false, "two commitments");
        // The victim holds the culprit's own table against what the culprit sent to it.
        let abort = outcome.endings[&victim].abort().unwrap();
        assert_eq!((abort.reason, &abort.culprits), (AbortReason::Equivocation, &[culprit].into()));
        let abort = outcome.endings[&party(1)].abort().unwrap();
        assert_eq!((abort.reason, &abort.culprits), (AbortReason::Equivocation, &BTreeSet::new()));
    }
}

#[test]
fn signing__should_name_who_replays_another_session() {
    let culprit = party(2);
    for scheme in SCHEMES {
        let shares = shares(scheme, 2, 3);
        let earlier = recorded(&shares, &[1, 2], culprit);
        for rounds in [&[1_u8][..], &[2], &[1, 2]] {
            let outcome = run_with(signers(1, &shares, &[1, 2], &[], MESSAGE, None), |mut envelope| {
                if envelope.from == culprit && rounds.contains(&envelope.round) {
                    envelope.payload = earlier[&(envelope.to, envelope.round)].clone();
                }
                vec![envelope]
            });
            check(&outcome, &shares[0].public_key(), culprit, true, &format!("{scheme}, rounds {rounds:?}"));
            assert!(outcome.endings[&party(1)].output().is_none());
        }
    }
}

#[test]
fn signing__should_name_who_passes_off_anothers_message() {
    let culprit = party(2);
    let shares = shares(Scheme::Ed25519, 3, 5);
    for round in 1..=2 {
        let outcome = run_with(signers(1, &shares, &[1, 2, 4], &[], MESSAGE, None), |envelope| match envelope {
            own if (own.from, own.round) == (culprit, round) => vec![],
            other if other.round == round && other.to != culprit => {
                vec![Envelope { from: culprit, ..other.clone() }, other]
            }
            other => vec![other],
        });
        check(&outcome, &shares[0].public_key(), culprit, round == 2, &format!("round {round}"));
        assert!([1, 4].iter().all(|&index| outcome.endings[&party(index)].output().is_none()));
    }
}

/// Replaces the culprit's share in round 2, and nothing else.
fn with_share(change: impl Fn(&mut Vec<u8>), scheme: Scheme) -> Outcome<Signature> {
    let shares = shares(scheme, 3, 5);
    let outcome = run_with(signers(1, &shares, &[1, 2, 4], &[], MESSAGE, None), |mut envelope| {
        if (envelope.from, envelope.round) == (party(2), 2) {
            let mut message: PartialSignature = codec::decode(&envelope.payload, MAX_PAYLOAD_BYTES).unwrap();
            change(&mut message.share);
            envelope.payload = codec::encode(&message, MAX_PAYLOAD_BYTES).unwrap();
        }
        vec![envelope]
    });
    check(&outcome, &shares[0].public_key(), party(2), true, "share replaced");
    outcome
}

#[test]
fn signing__should_tell_a_false_share_from_a_malformed_one() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, AbortReason); 5] = [
        (|share| share.fill(0), AbortReason::InvalidProof),
        (|share| share[16] ^= 1, AbortReason::InvalidProof),
        (|share| share.fill(0xff), AbortReason::Malformed),
        (|share| share.truncate(31), AbortReason::Malformed),
        (|share| share.push(0), AbortReason::Malformed),
    ];
    for scheme in SCHEMES {
        for (change, reason) in changes {
            let outcome = with_share(change, scheme);
            for honest in [1, 4] {
                let abort = outcome.endings[&party(honest)].abort().unwrap();
                assert_eq!((abort.reason, abort.round, &abort.culprits), (reason, 2, &[party(2)].into()));
            }
        }
    }
}

#[test]
fn signing__should_refuse_commitments_that_are_no_points() {
    let shares = shares(Scheme::Ed25519, 2, 3);
    let culprit = party(2);
    let identity = [&[1][..], &[0; 31]].concat();
    let order_two = [&[0xec][..], &[0xff; 30], &[0x7f]].concat();
    for point in [identity, order_two, vec![2; 32]] {
        let outcome = run_with(signers(1, &shares, &[1, 2], &[], MESSAGE, None), |mut envelope| {
            if (envelope.from, envelope.round) == (culprit, 1) {
                let mut message: NonceCommitments = codec::decode(&envelope.payload, MAX_PAYLOAD_BYTES).unwrap();
                let at = message.commitments.len() - 32;
                message.commitments[at..].copy_from_slice(&point);
                envelope.payload = codec::encode(&message, MAX_PAYLOAD_BYTES).unwrap();
            }
            vec![envelope]
        });
        let abort = outcome.endings[&party(1)].abort().unwrap();
        assert_eq!((abort.reason, abort.round, &abort.culprits), (AbortReason::Malformed, 1, &[culprit].into()));
    }
}

#[test]
fn signing__should_drop_what_no_signer_may_send() {
    type Alter = fn(Envelope) -> Envelope;
    let shares = shares(Scheme::Bip340, 2, 3);
    let altered: [(Alter, Dropped); 4] = [
        (|envelope| Envelope { round: 0, ..envelope }, Dropped::WrongRound),
        (|envelope| Envelope { round: 3, ..envelope }, Dropped::WrongRound),
        (|envelope| Envelope { from: party(3), ..envelope }, Dropped::NotAParticipant),
        (|envelope| Envelope { payload: vec![0; MAX_PAYLOAD_BYTES + 1], ..envelope }, Dropped::TooLarge),
    ];
    for (alter, reason) in altered {
        let mut sent = 0;
        let outcome = run_with(signers(1, &shares, &[1, 2], &[], MESSAGE, None), |envelope| {
            sent += 1;
            vec![alter(envelope.clone()), envelope]
        });
        assert_eq!(outcome.refused.iter().filter(|refusal| refusal.reason == reason).count(), sent);
        assert_eq!(outcome.refused.len(), sent);
        assert!(outcome.into_outputs().is_some());
    }
}

#[test]
fn signing__should_use_its_nonces_once() {
    // The whole run is fed to one signer a second time: it says nothing more.
    let shares = shares(Scheme::Ed25519, 2, 2);
    let mut parties = signers(1, &shares, &[1, 2], &[], MESSAGE, None);
    let (mut one, mut two) = (parties.remove(&party(1)).unwrap(), parties.remove(&party(2)).unwrap());
    let first = two.start().unwrap().send;
    assert_eq!(one.start().unwrap().send.len(), 1);
    assert!(one.start().unwrap().send.is_empty());
    assert_eq!(one.receive(party(2), 1, &first[0].payload).unwrap().send.len(), 1);
    for _ in 0..2 {
        let again = one.receive(party(2), 1, &first[0].payload).unwrap();
        assert_eq!((again.send.len(), again.dropped), (0, Some(Dropped::WrongRound)));
    }
    assert_eq!((one.round(), one.awaited()), (2, [party(2)].into()));
}
