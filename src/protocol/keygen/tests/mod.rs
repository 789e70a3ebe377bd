//! Runs without an adversary; the adversary has its own module.

mod adversary;

use super::*;
use crate::ids::SheetHash;
use crate::protocol::rng;
use crate::protocol::share::GroupKey;
use crate::protocol::testbed::{Parties, contexts, run, run_in_order};

fn party(index: u8) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

fn all_schemes() -> BTreeSet<Scheme> {
    Scheme::ALL.into()
}

fn parties(session: u8, t: u8, n: u8, schemes: &BTreeSet<Scheme>) -> Parties<KeygenOutput> {
    let boxed = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = KeygenOutput>>) {
        let threshold = Threshold::new(t, n).unwrap();
        (context.me, Box::new(Keygen::new(context, threshold, schemes, rng::os()).unwrap()))
    };
    contexts(session, &(1..=n).collect::<Vec<_>>()).into_iter().map(boxed).collect()
}

/// What all parties agree on, after checking that they do.
fn agreed(outputs: &BTreeMap<PartyIndex, KeygenOutput>) -> (BTreeMap<Scheme, GroupKey>, [u8; 32]) {
    let view = |output: &KeygenOutput| {
        let groups = output.shares.iter().map(|(&scheme, share)| (scheme, share.group().clone()));
        (groups.collect::<BTreeMap<_, _>>(), output.transcript)
    };
    let first = view(outputs.values().next().unwrap());
    assert!(outputs.values().all(|output| view(output) == first));
    for (&party, output) in outputs {
        assert!(output.shares.iter().all(|(&scheme, share)| share.index() == party && share.scheme() == scheme));
    }
    first
}

#[test]
fn keygen__should_give_every_party_its_share_of_the_same_keys() {
    for (t, n) in [(2, 2), (2, 3), (3, 5), (5, 9)] {
        let outputs = run(parties(1, t, n, &all_schemes())).into_outputs().unwrap();
        let (groups, _) = agreed(&outputs);
        assert_eq!(groups.keys().copied().collect::<BTreeSet<_>>(), all_schemes());
        for (scheme, group) in groups {
            assert_eq!((group.scheme(), group.threshold()), (scheme, Threshold::new(t, n).unwrap()));
        }
    }
}

#[test]
fn keygen__should_make_only_the_keys_asked_for() {
    for scheme in Scheme::ALL {
        let outputs = run(parties(1, 2, 3, &[scheme].into())).into_outputs().unwrap();
        assert!(agreed(&outputs).0.into_keys().eq([scheme]));
    }
}

#[test]
fn keygen__should_make_other_keys_and_transcripts_each_time() {
    let again = |session| agreed(&run(parties(session, 2, 2, &all_schemes())).into_outputs().unwrap());
    let ((keys, transcript), (other_keys, other_transcript)) = (again(1), again(1));
    assert_ne!(transcript, other_transcript);
    for scheme in Scheme::ALL {
        assert_ne!(keys[&scheme].public_key(), other_keys[&scheme].public_key());
    }
}

#[test]
fn keygen__should_not_depend_on_the_order_of_delivery() {
    for stride in [1, 3, 7, 11] {
        let mut count = 0;
        let pick = |len| {
            count += stride;
            count % len
        };
        let outcome = run_in_order(parties(1, 2, 3, &all_schemes()), |envelope| vec![envelope], pick);
        agreed(&outcome.into_outputs().unwrap());
    }
    // The last message first: every round comes early for somebody.
    let outcome = run_in_order(parties(1, 3, 5, &all_schemes()), |envelope| vec![envelope], |len| len - 1);
    agreed(&outcome.into_outputs().unwrap());
}

#[test]
fn keygen__should_refuse_parties_that_are_no_committee() {
    let refuse = |me: u8, parties: &[u8], schemes: &[Scheme]| {
        let context = RunContext {
            session: SheetHash([1; 32]),
            me: party(me),
            parties: parties.iter().copied().map(party).collect(),
        };
        let schemes = schemes.iter().copied().collect();
        Keygen::new(context, Threshold::new(2, 3).unwrap(), &schemes, rng::os()).err()
    };
    assert_eq!(refuse(4, &[1, 2, 3], &Scheme::ALL), Some(SetupError::NotAParticipant));
    for wrong in [&[1, 2][..], &[1, 2, 4], &[2, 3, 4], &[1, 2, 3, 4]] {
        assert_eq!(refuse(2, wrong, &Scheme::ALL), Some(SetupError::Committee), "{wrong:?}");
    }
    assert_eq!(refuse(1, &[1, 2, 3], &[]), Some(SetupError::NoScheme));
}
