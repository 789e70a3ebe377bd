use super::testbed::{established, parties};
use super::*;
use crate::ids::{Epoch, PartyIndex, SheetHash};
use crate::protocol::setup::SetupError;
use crate::protocol::testbed::{Ending, Envelope, Outcome, contexts, run_with};
use crate::protocol::{AbortReason, Dropped, RunContext};

fn party(index: u8) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

/// Changes the bytes of a message.
type Tamper = fn(&mut Vec<u8>);

/// Runs a setup in which both sides get a changed message in `round`, each its own change.
fn tampered(round: u8, from_one: Tamper, from_two: Tamper) -> Outcome<PairState> {
    run_with(parties(9), |mut envelope: Envelope| {
        if envelope.round == round {
            let tamper = if envelope.from == party(1) { from_one } else { from_two };
            tamper(&mut envelope.payload);
        }
        vec![envelope]
    })
}

/// Whether both sides aborted in `round` for `reason`, named each other, and banned nobody.
fn assert_both_blame(outcome: &Outcome<PairState>, round: u8, reason: AbortReason) {
    for (me, other) in [(1, 2), (2, 1)] {
        let abort = outcome.endings[&party(me)].abort().unwrap();
        assert_eq!((abort.round, abort.reason), (round, reason));
        assert_eq!(abort.culprits, [party(other)].into());
        assert!(abort.ban.is_empty());
    }
}

/// Offsets in the third message: the zero-share seed, after the proof of the key share and two indices ...
const ZERO_SEED: usize = 4_646;
/// ... the last byte of the nonce that the gadget is made of, after a salt, two indices and the proof of the base point ...
const GADGET_NONCE: usize = 9_421;
/// ... and the end of the 256 encryption proofs.
const TRANSFERS_END: usize = 147_664;

fn flip(bytes: &mut [u8], position: usize) {
    bytes[position] ^= 1;
}

#[test]
fn pair_setup__should_give_two_halves_that_fit() {
    let mut sizes = Vec::new();
    let outcome = run_with(parties(9), |envelope| {
        sizes.push((envelope.round, envelope.payload.len()));
        vec![envelope]
    });
    let states = outcome.into_outputs().unwrap();
    let [one, two] = [&states[&party(1)], &states[&party(2)]];
    assert_eq!((one.epoch(), one.fingerprint()), (Epoch(1), two.fingerprint()));
    assert_eq!(two.epoch(), Epoch(1));
    assert!(established().iter().all(|[half, _]| half.fingerprint() != one.fingerprint()));
    sizes.dedup();
    assert_eq!(sizes, [(1, 33), (2, 99), (3, 147_794)]);
}

#[test]
fn pair_setup__should_run_between_one_and_two_only() {
    for indices in [&[1, 3][..], &[2, 3], &[1], &[1, 2, 3]] {
        for context in contexts(1, indices) {
            assert_eq!(PairSetup::new(&context, Epoch(1)).err(), Some(SetupError::Committee), "{indices:?}");
        }
    }
    let outsider = RunContext { session: SheetHash([1; 32]), me: party(3), parties: [1, 2].map(party).into() };
    assert_eq!(PairSetup::new(&outsider, Epoch(1)).err(), Some(SetupError::NotAParticipant));
}

#[test]
fn pair_setup__should_blame_the_sender_of_what_does_not_decode() {
    let cases: [(Tamper, Tamper); 3] = [
        (Vec::clear, |bytes| bytes.push(0)),
        (|bytes| bytes.truncate(bytes.len() - 1), |bytes| bytes[0] = 0xff),
        (|bytes| bytes[1..33].fill(0xff), |bytes| bytes.resize(64, 0)),
    ];
    for (from_one, from_two) in cases {
        assert_both_blame(&tampered(1, from_one, from_two), 1, AbortReason::Malformed);
    }
    let too_large: Tamper = |bytes| bytes.resize(160 * 1024 + 1, 0);
    let outcome = tampered(1, too_large, too_large);
    assert_eq!(outcome.refused.len(), 2);
    assert!(outcome.refused.iter().all(|refusal| refusal.reason == Dropped::TooLarge));
    assert!(outcome.endings.values().all(|ending| matches!(ending, Ending::Waiting { round: 1, .. })));
}

// Offsets in the second message: commitment 0..32, zero-share sender 32 and receiver 33, its commitment 34..66, chain
// code's sender 66, its commitment 67..99.
#[test]
fn pair_setup__should_blame_whoever_speaks_as_another() {
    let speaks_as_two: Tamper = |bytes| bytes[32] = 2;
    let speaks_as_one: Tamper = |bytes| bytes[66] = 1;
    assert_both_blame(&tampered(2, speaks_as_two, speaks_as_one), 2, AbortReason::Malformed);
    let swaps: Tamper = |bytes| bytes.swap(32, 33);
    let to_nobody: Tamper = |bytes| bytes[33] = 0;
    assert_both_blame(&tampered(2, swaps, to_nobody), 2, AbortReason::Malformed);
}

#[test]
fn pair_setup__should_blame_the_sender_of_what_does_not_open() {
    let outcome = tampered(2, |bytes| flip(bytes, 0), |bytes| flip(bytes, 40));
    assert_both_blame(&outcome, 3, AbortReason::InvalidProof);
    let outcome = tampered(2, |bytes| flip(bytes, 98), |_| ());
    let blamed: Vec<_> = outcome.aborts().into_iter().collect();
    assert!(matches!(blamed[..], [(two, abort)] if two == party(2) && abort.culprits == [party(1)].into()));
}

#[test]
fn pair_setup__should_blame_the_sender_of_openings_and_transfers_that_do_not_verify() {
    let cases: [(Tamper, Tamper, AbortReason); 2] = [
        (|bytes| flip(bytes, ZERO_SEED), |bytes| flip(bytes, TRANSFERS_END - 1), AbortReason::InvalidProof),
        (|bytes| bytes[ZERO_SEED - 1] = 1, |bytes| bytes.truncate(TRANSFERS_END), AbortReason::Malformed),
    ];
    for (from_one, from_two, reason) in cases {
        assert_both_blame(&tampered(3, from_one, from_two), 3, reason);
    }
}

#[test]
fn pair_setup__should_tell_apart_halves_that_heard_different_things() {
    // What no check covers: a share of a key that nobody uses, and the seed of the gadget.
    let cases: [(u8, Tamper); 2] = [(1, |bytes| flip(bytes, 32)), (3, |bytes| flip(bytes, GADGET_NONCE))];
    for (round, tamper) in cases {
        let states = tampered(round, tamper, |_| ()).into_outputs().unwrap();
        assert_ne!(states[&party(1)].fingerprint(), states[&party(2)].fingerprint());
    }
}

#[test]
fn pair_setup__should_take_nothing_after_its_end() {
    let mut parties = parties(9);
    let one = parties.get_mut(&party(1)).unwrap();
    one.start().unwrap();
    assert_eq!((one.round(), one.awaited()), (1, [party(2)].into()));
    assert_eq!(one.receive(party(3), 1, &[0; 33]).ok().unwrap().dropped, Some(Dropped::NotAParticipant));
    assert_eq!(one.receive(party(2), 1, b"").err().unwrap().reason, AbortReason::Malformed);
    assert_eq!(one.receive(party(2), 2, b"").ok().unwrap().dropped, Some(Dropped::Ended));
    assert!(one.awaited().is_empty());
    assert_eq!(one.start().err().unwrap().reason, AbortReason::Engine);
}
