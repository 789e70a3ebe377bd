//! Runs without an adversary; the adversary has its own module.

mod adversary;

use super::*;
use crate::ids::{PartyIndex, Scheme, SheetHash, Threshold};
use crate::keys::{ChainCode, DerivationPath};
use crate::protocol::derivation::{derive, output_key};
use crate::protocol::keygen::Keygen;
use crate::protocol::rng;
use crate::protocol::testbed::{Parties, contexts, deal, run, run_in_order, subsets};
use crate::protocol::verify::VerifyError;

const SCHEMES: [Scheme; 2] = [Scheme::Ed25519, Scheme::Bip340];
const MESSAGE: &[u8] = b"a message of no particular length";

fn party(index: u8) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

fn derived(share: &KeyShare, indices: &[u32]) -> Derived {
    let path = DerivationPath::try_from(indices.to_vec()).unwrap();
    derive(&share.public_key(), &ChainCode([5; 32]), &path).unwrap()
}

fn shares(scheme: Scheme, t: u8, n: u8) -> Vec<KeyShare> {
    deal(scheme, Threshold::new(t, n).unwrap(), &mut rng::os())
}

/// The signers of one run, with the shares they hold.
fn signers(
    session: u8,
    shares: &[KeyShare],
    subset: &[u8],
    indices: &[u32],
    message: &[u8],
    tweak: Option<TapTweak>,
) -> Parties<Signature> {
    let boxed = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = Signature>>) {
        let share = &shares[usize::from(context.me.get()) - 1];
        let (me, derived) = (context.me, derived(share, indices));
        (me, Box::new(FrostSigning::new(context, share, &derived, message.to_vec(), tweak, rng::os()).unwrap()))
    };
    contexts(session, subset).into_iter().map(boxed).collect()
}

/// Signs and checks that all signers have the same signature and that it verifies.
fn sign(shares: &[KeyShare], subset: &[u8], indices: &[u32], tweak: Option<TapTweak>) -> Signature {
    let outputs = run(signers(1, shares, subset, indices, MESSAGE, tweak)).into_outputs().unwrap();
    let signature = *outputs.values().next().unwrap();
    assert!(outputs.values().all(|other| *other == signature));
    let key = derived(&shares[0], indices).public_key;
    assert_eq!(verify(&key, MESSAGE, tweak, &signature), Ok(()));
    assert_eq!(verify(&key, b"another message", tweak, &signature), Err(VerifyError::Invalid));
    signature
}

#[test]
fn signing__should_work_for_every_subset_of_a_small_committee_and_some_of_a_large_one() {
    for scheme in SCHEMES {
        for (t, n) in [(2, 2), (2, 3), (3, 3), (3, 5), (5, 9)] {
            let shares = shares(scheme, t, n);
            let step = if n <= 3 { 1 } else { 7 };
            for subset in subsets(n, t).into_iter().step_by(step) {
                assert_eq!(sign(&shares, &subset, &[], None).scheme(), scheme);
            }
        }
    }
}

#[test]
fn signing__should_work_with_keys_that_were_generated_together() {
    let threshold = Threshold::new(2, 3).unwrap();
    let keygen = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = _>>) {
        let schemes = SCHEMES.into();
        (context.me, Box::new(Keygen::new(context, threshold, &schemes, rng::os()).unwrap()))
    };
    // A group key has an odd y every other time: several keys, so that both kinds are met.
    for session in 0..8 {
        let outputs = run(contexts(session, &[1, 2, 3]).into_iter().map(keygen).collect()).into_outputs().unwrap();
        let mut outputs: Vec<_> = outputs.into_values().map(|output| output.shares).collect();
        for scheme in SCHEMES {
            let shares: Vec<_> = outputs.iter_mut().map(|shares| shares.remove(&scheme).unwrap()).collect();
            for subset in subsets(3, 2) {
                sign(&shares, &subset, &[], None);
            }
        }
    }
}

#[test]
fn signing__should_use_the_derived_key() {
    for scheme in SCHEMES {
        let shares = shares(scheme, 2, 3);
        for indices in [&[0][..], &[1], &[44, 0, 7], &[(1 << 31) - 1; 255]] {
            let signature = sign(&shares, &[1, 3], indices, None);
            assert!(verify(&shares[0].public_key(), MESSAGE, None, &signature).is_err());
        }
    }
}

#[test]
fn signing__should_use_the_taproot_output_key() {
    for round in 0..8_u8 {
        let shares = shares(Scheme::Bip340, 2, 3);
        for tweak in [TapTweak::KeyPathOnly, TapTweak::MerkleRoot([round; 32])] {
            for indices in [&[][..], &[0], &[1, 2]] {
                let signature = sign(&shares, &[2, 3], indices, Some(tweak));
                let key = derived(&shares[0], indices).public_key;
                assert!(verify(&key, MESSAGE, None, &signature).is_err());
                // Read as a key of its own, the output key verifies it.
                let output = output_key(&key, tweak).unwrap();
                let output = PublicKey::new(Scheme::Bip340, &[&[2][..], &output].concat()).unwrap();
                assert_eq!(verify(&output, MESSAGE, None, &signature), Ok(()));
            }
        }
    }
}

#[test]
fn signing__should_take_any_message_up_to_64_kib() {
    for scheme in SCHEMES {
        let shares = shares(scheme, 2, 2);
        for message in [vec![], vec![0; 32], vec![7; MAX_MESSAGE_BYTES]] {
            let outputs = run(signers(1, &shares, &[1, 2], &[], &message, None)).into_outputs().unwrap();
            assert!(outputs.values().all(|s| verify(&shares[0].public_key(), &message, None, s).is_ok()));
        }
    }
}

#[test]
fn signing__should_not_depend_on_the_order_of_delivery() {
    let shares = shares(Scheme::Ed25519, 3, 5);
    for offset in 0..6 {
        let parties = signers(1, &shares, &[1, 3, 4], &[], MESSAGE, None);
        let outcome = run_in_order(parties, |envelope| vec![envelope], |len| len.saturating_sub(1 + offset));
        assert!(outcome.into_outputs().is_some());
    }
}

#[test]
fn signing__should_draw_fresh_nonces_each_time() {
    let shares = shares(Scheme::Bip340, 2, 2);
    let nonce = |signature: Signature| signature.to_bytes()[..32].to_vec();
    let (one, other) = (sign(&shares, &[1, 2], &[], None), sign(&shares, &[1, 2], &[], None));
    assert_ne!(nonce(one), nonce(other));
}

#[test]
fn signing__should_refuse_what_does_not_fit_the_share() {
    let ours = shares(Scheme::Ed25519, 2, 3);
    let share = &ours[0];
    let context = |me: u8, parties: &[u8]| RunContext {
        session: SheetHash([1; 32]),
        me: party(me),
        parties: parties.iter().copied().map(party).collect(),
    };
    let refuse = |context: RunContext, derived: &Derived, message: Vec<u8>, tweak| {
        FrostSigning::new(context, share, derived, message, tweak, rng::os()).err()
    };
    let root = derived(share, &[]);
    let plain = |context| refuse(context, &root, vec![], None);
    assert_eq!(plain(context(1, &[1, 2])), None);
    assert_eq!(plain(context(1, &[2, 3])), Some(SetupError::NotAParticipant));
    for wrong in [&[1][..], &[1, 2, 3], &[1, 4], &[1, 255]] {
        assert_eq!(plain(context(1, wrong)), Some(SetupError::Committee), "{wrong:?}");
    }
    assert_eq!(plain(context(2, &[1, 2])), Some(SetupError::WrongShare));

    let ours = context(1, &[1, 2]);
    let foreign = derived(&shares(Scheme::Ed25519, 2, 3)[0], &[]);
    assert_eq!(refuse(ours.clone(), &foreign, vec![], None), Some(SetupError::WrongKey));
    let untrue = Derived { public_key: foreign.public_key, ..derived(share, &[1]) };
    assert_eq!(refuse(ours.clone(), &untrue, vec![], None), Some(SetupError::WrongKey));
    assert_eq!(refuse(ours.clone(), &root, vec![], Some(TapTweak::KeyPathOnly)), Some(SetupError::Tweak));
    let long = vec![0; MAX_MESSAGE_BYTES + 1];
    assert_eq!(refuse(ours.clone(), &root, long, None), Some(SetupError::MessageTooLong));

    let ecdsa = &shares(Scheme::Ecdsa, 2, 3)[0];
    let refused = FrostSigning::new(ours, ecdsa, &derived(ecdsa, &[]), vec![], None, rng::os()).err();
    assert_eq!(refused, Some(SetupError::Scheme));
}

#[test]
fn signing__should_keep_what_comes_before_its_start() {
    let shares = shares(Scheme::Ed25519, 2, 2);
    let mut parties = signers(1, &shares, &[1, 2], &[], MESSAGE, None);
    let (mut one, mut two) = (parties.remove(&party(1)).unwrap(), parties.remove(&party(2)).unwrap());
    let first = two.start().unwrap().send;
    assert!(one.receive(party(2), 1, &first[0].payload).unwrap().send.is_empty());
    let sent = one.start().unwrap().send;
    assert_eq!(sent.iter().map(|message| message.round).collect::<Vec<_>>(), [1, 2]);
    let second = two.receive(party(1), 1, &sent[0].payload).unwrap().send;
    assert!(two.receive(party(1), 2, &sent[1].payload).unwrap().output.is_some());
    assert!(one.receive(party(2), 2, &second[0].payload).unwrap().output.is_some());
}
