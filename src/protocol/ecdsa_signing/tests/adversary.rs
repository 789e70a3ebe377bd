//! Every message, changed in every way that came to mind: it is dropped, or the run aborts and names the right party.

use super::*;
use crate::protocol::testbed::{Ending, Envelope};

/// Changes the bytes of a message.
type Tamper = fn(&mut Vec<u8>);

/// What honest runs sent, to be replayed: from 1 to 2, by round.
type Recorded = BTreeMap<u8, Vec<u8>>;

/// Offsets in the first message, before and after the two varints of 256 rows: epoch 0, fingerprint 1..33, sender 33,
/// receiver 34, session binding 35..67, commitment 67..99, nonce 99..131, u 133..20101, x 20101..20127, t 20129..26785.
mod first {
    pub const EPOCH: usize = 0;
    pub const FINGERPRINT: usize = 1;
    pub const SENDER: usize = 33;
    pub const RECEIVER: usize = 34;
    pub const BINDING: usize = 35;
    pub const COMMITMENT: usize = 67;
    pub const NONCE: usize = 99;
    pub const U: usize = 140;
    pub const X: usize = 20_110;
    pub const T: usize = 26_000;
}

/// Offsets in the second: sender 0, receiver 1, session binding 2..34, four points and a scalar behind a length byte each
/// (gamma u 34, gamma v 68, psi 102, public share 135, instance point 169), salt 203..268, tau from 268, and at the end
/// the salt, the check hash, two check scalars and two corrections.
mod second {
    pub const SENDER: usize = 0;
    pub const RECEIVER: usize = 1;
    pub const BINDING: usize = 2;
    pub const GAMMA_U: usize = 34;
    pub const GAMMA_V: usize = 68;
    pub const PSI: usize = 103;
    pub const PUBLIC_SHARE: usize = 135;
    pub const INSTANCE_POINT: usize = 169;
    pub const SALT: usize = 204;
    pub const TAU: usize = 300;
    pub const CHECK: usize = LENGTH - 68;
    pub const CORRECTION: usize = LENGTH - 1;
    const LENGTH: usize = 55_387;
}

fn flip(bytes: &mut [u8], position: usize) {
    bytes[position] ^= 1;
}

/// Three signers of a wallet, 1, 2 and 4; the message from 1 to 2 in `round` is changed.
fn tampered(wallet: &Wallet, round: u8, tamper: impl Fn(&mut Vec<u8>)) -> Outcome<Signature> {
    run_with(wallet.session(1, &[1, 2, 4], &wallet.at(&[])), |mut envelope: Envelope| {
        if (envelope.from, envelope.to, envelope.round) == (party(1), party(2), round) {
            tamper(&mut envelope.payload);
        }
        vec![envelope]
    })
}

/// How 2 ended, after the others were seen to be right: each waits, or has a signature that verifies.
fn victim(wallet: &Wallet, outcome: &Outcome<Signature>) -> Abort {
    for (index, ending) in &outcome.endings {
        match ending {
            Ending::Done(signature) => verify(&wallet.at(&[]).public_key, &DIGEST, None, signature).unwrap(),
            Ending::Aborted(_) => assert_eq!(*index, party(2), "only the victim aborts"),
            Ending::Waiting { awaited, .. } => assert_eq!(*awaited, [party(2)].into(), "the victim is waited for"),
        }
    }
    outcome.endings[&party(2)].abort().unwrap().clone()
}

fn assert_blames(abort: &Abort, round: u8, reason: AbortReason, case: &str) {
    assert_eq!((abort.round, abort.reason), (round, reason), "{case}");
    assert_eq!(abort.culprits, [party(1)].into(), "{case}");
    let ban = if reason == AbortReason::ObliviousTransfer { abort.culprits.clone() } else { BTreeSet::new() };
    assert_eq!(abort.ban, ban, "{case}");
}

#[test]
fn signing__should_blame_the_sender_of_a_changed_first_message() {
    use AbortReason::{InvalidProof, Malformed, ObliviousTransfer, PairMismatch};
    let wallet = Wallet::new(3, 4, "wallet");
    let cases: [(&str, Tamper, u8, AbortReason); 13] = [
        ("epoch", |bytes| flip(bytes, first::EPOCH), 1, PairMismatch),
        ("fingerprint", |bytes| flip(bytes, first::FINGERPRINT), 1, PairMismatch),
        ("speaks as 4", |bytes| bytes[first::SENDER] = 4, 1, Malformed),
        ("addressed to 4", |bytes| bytes[first::RECEIVER] = 4, 1, Malformed),
        ("swapped", |bytes| bytes.swap(first::SENDER, first::RECEIVER), 1, Malformed),
        ("nobody", |bytes| bytes[first::SENDER] = 0, 1, Malformed),
        ("binding", |bytes| flip(bytes, first::BINDING), 1, InvalidProof),
        ("commitment", |bytes| flip(bytes, first::COMMITMENT), 2, InvalidProof),
        ("nonce", |bytes| flip(bytes, first::NONCE), 1, ObliviousTransfer),
        ("u", |bytes| flip(bytes, first::U), 1, ObliviousTransfer),
        ("x", |bytes| flip(bytes, first::X), 1, ObliviousTransfer),
        ("t", |bytes| flip(bytes, first::T), 1, ObliviousTransfer),
        ("fewer rows", |bytes| drop(bytes.splice(20_127..20_155, [0xff, 1])), 1, Malformed),
    ];
    for (case, tamper, round, reason) in cases {
        assert_blames(&victim(&wallet, &tampered(&wallet, 1, tamper)), round, reason, case);
    }
}

#[test]
fn signing__should_blame_the_sender_of_a_changed_second_message() {
    use AbortReason::{InvalidProof, Malformed, ObliviousTransfer};
    let wallet = Wallet::new(3, 4, "wallet");
    let cases: [(&str, Tamper, AbortReason); 15] = [
        ("speaks as 4", |bytes| bytes[second::SENDER] = 4, Malformed),
        ("addressed to 4", |bytes| bytes[second::RECEIVER] = 4, Malformed),
        ("binding", |bytes| flip(bytes, second::BINDING), InvalidProof),
        ("gamma u negated", |bytes| flip(bytes, second::GAMMA_U + 1), ObliviousTransfer),
        ("gamma v negated", |bytes| flip(bytes, second::GAMMA_V + 1), ObliviousTransfer),
        ("psi", |bytes| flip(bytes, second::PSI + 31), InvalidProof),
        ("psi out of range", |bytes| bytes[second::PSI..second::PSI + 32].fill(0xff), Malformed),
        ("public share negated", |bytes| flip(bytes, second::PUBLIC_SHARE + 1), ObliviousTransfer),
        ("instance point negated", |bytes| flip(bytes, second::INSTANCE_POINT + 1), InvalidProof),
        ("identity", |bytes| drop(bytes.splice(second::GAMMA_U..second::GAMMA_V, [1, 0])), Malformed),
        ("off the curve", |bytes| bytes[second::GAMMA_U + 2..second::GAMMA_V].fill(0), Malformed),
        ("salt", |bytes| flip(bytes, second::SALT), InvalidProof),
        ("tau", |bytes| flip(bytes, second::TAU), ObliviousTransfer),
        ("correction", |bytes| flip(bytes, second::CORRECTION), ObliviousTransfer),
        ("check value", |bytes| flip(bytes, second::CHECK), ObliviousTransfer),
    ];
    for (case, tamper, reason) in cases {
        assert_blames(&victim(&wallet, &tampered(&wallet, 2, tamper)), 2, reason, case);
    }
}

#[test]
fn signing__should_never_give_out_a_signature_that_a_changed_third_message_spoils() {
    let wallet = Wallet::new(3, 4, "wallet");
    for position in [1, 32, 34, 65] {
        let abort = victim(&wallet, &tampered(&wallet, 3, |bytes| flip(bytes, position)));
        assert_eq!((abort.round, abort.reason), (3, AbortReason::InvalidSignature));
        assert!(abort.culprits.is_empty() && abort.ban.is_empty(), "anybody's share may be wrong");
    }
    let abort = victim(&wallet, &tampered(&wallet, 3, |bytes| bytes[1..33].fill(0xff)));
    assert_blames(&abort, 3, AbortReason::Malformed, "out of range");
}

#[test]
fn signing__should_blame_the_sender_of_what_does_not_decode_in_any_round() {
    let wallet = Wallet::new(3, 4, "wallet");
    let cases: [(&str, Tamper); 6] = [
        ("empty", Vec::clear),
        ("short", |bytes| bytes.truncate(bytes.len() - 1)),
        ("half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("long", |bytes| bytes.push(0)),
        ("zeros", |bytes| bytes.fill(0)),
        ("a length without end", |bytes| bytes.fill(0xff)),
    ];
    for round in 1..=3 {
        for (case, tamper) in cases {
            let abort = victim(&wallet, &tampered(&wallet, round, tamper));
            assert_blames(&abort, round, AbortReason::Malformed, case);
        }
        let outcome = tampered(&wallet, round, |bytes| bytes.resize(MAX_PAYLOAD_BYTES + 1, 0));
        assert_eq!(outcome.refused.iter().map(|refusal| refusal.reason).collect::<Vec<_>>(), [Dropped::TooLarge]);
        assert!(matches!(&outcome.endings[&party(2)], Ending::Waiting { awaited, .. } if awaited.contains(&party(1))));
    }
}

#[test]
fn signing__should_refuse_another_state_of_the_pair_before_it_looks_at_transfers() {
    // Transfers that would get 1 banned, had they been looked at.
    let wallet = Wallet::new(3, 4, "wallet");
    for position in [first::EPOCH, first::FINGERPRINT] {
        let outcome = tampered(&wallet, 1, |bytes| {
            flip(bytes, position);
            flip(bytes, first::U);
        });
        assert_blames(&victim(&wallet, &outcome), 1, AbortReason::PairMismatch, "state");
    }
}

#[test]
fn signing__should_notice_on_both_sides_that_their_states_do_not_fit() {
    let wallet = Wallet::new(2, 2, "wallet");
    let signer = |context: RunContext| {
        let mine = usize::from(context.me.get()) - 1;
        let pairs = context.others().map(|other| (other, Arc::clone(&established()[mine][mine]))).collect();
        let engine = wallet.signer(&context, pairs, &wallet.at(&[])).unwrap();
        (context.me, Box::new(engine) as Box<dyn Party<Output = Signature>>)
    };
    let outcome = run(contexts(1, &[1, 2]).into_iter().map(signer).collect());
    for (me, other) in [(1, 2), (2, 1)] {
        let abort = outcome.endings[&party(me)].abort().unwrap();
        assert_eq!((abort.reason, &abort.culprits), (AbortReason::PairMismatch, &[party(other)].into()));
        assert!(abort.ban.is_empty());
    }
}

/// What 1 sends to 2 in an honest session.
fn recorded(wallet: &Wallet, session: u8, derived: &Derived) -> Recorded {
    let mut recorded = Recorded::new();
    run_with(wallet.session(session, &[1, 2, 4], derived), |envelope| {
        if (envelope.from, envelope.to) == (party(1), party(2)) {
            recorded.insert(envelope.round, envelope.payload.clone());
        }
        vec![envelope]
    });
    recorded
}

#[test]
fn signing__should_not_take_messages_of_another_session_wallet_or_key() {
    let wallet = Wallet::new(3, 4, "generation 1");
    let of_generation_1 = recorded(&wallet, 1, &wallet.at(&[]));
    let wallet = Wallet { context: b"generation 2".to_vec(), ..wallet };
    let sources = [of_generation_1, recorded(&wallet, 2, &wallet.at(&[])), recorded(&wallet, 1, &wallet.at(&[5]))];
    for source in &sources {
        for round in 1..=2 {
            let abort = victim(&wallet, &tampered(&wallet, round, |bytes| bytes.clone_from(&source[&round])));
            assert_blames(&abort, round, AbortReason::InvalidProof, "replayed");
        }
        let abort = victim(&wallet, &tampered(&wallet, 3, |bytes| bytes.clone_from(&source[&3])));
        assert_eq!(abort.reason, AbortReason::InvalidSignature);
    }
    // The very same session, run before: its first message fits, and then the second one no longer does.
    let before = recorded(&wallet, 1, &wallet.at(&[]));
    for round in 1..=2 {
        let outcome = tampered(&wallet, round, |bytes| bytes.clone_from(&before[&round]));
        let abort = outcome.endings[&party(2)].abort().unwrap();
        assert_blames(abort, 2, AbortReason::InvalidProof, "replayed in the same session");
    }
}

#[test]
fn signing__should_blame_who_sends_one_the_message_for_another() {
    let wallet = Wallet::new(3, 4, "wallet");
    for round in 1..=2 {
        let mut for_four = Vec::new();
        let outcome = run_with(wallet.session(1, &[1, 4, 2], &wallet.at(&[])), |mut envelope: Envelope| {
            match (envelope.from, envelope.to) {
                // 1 speaks to 2 before it speaks to 4: hold that back until then.
                (from, to) if envelope.round == round && from == party(1) && to == party(2) => vec![],
                (from, to) if envelope.round == round && from == party(1) && to == party(4) => {
                    for_four.clone_from(&envelope.payload);
                    let copy = Envelope { to: party(2), ..envelope.clone() };
                    envelope.payload.clone_from(&for_four);
                    vec![envelope, copy]
                }
                _ => vec![envelope],
            }
        });
        assert_blames(&victim(&wallet, &outcome), round, AbortReason::Malformed, "misdirected");
    }
}

#[test]
fn signing__should_drop_what_is_not_its_turn_and_go_on() {
    let wallet = Wallet::new(3, 4, "wallet");
    let outcome = run_with(wallet.session(1, &[1, 2, 4], &wallet.at(&[])), |envelope| {
        let stray = |from, round| Envelope { from: party(from), round, ..envelope.clone() };
        let itself = Envelope { from: envelope.to, ..envelope.clone() };
        vec![stray(3, envelope.round), itself, stray(1, 0), stray(2, 4), envelope.clone(), envelope]
    });
    let count = |reason| outcome.refused.iter().filter(|refusal| refusal.reason == reason).count();
    // Of 18 messages: 2 strays each, besides those of 1 and 2 to themselves.
    assert!(count(Dropped::NotAParticipant) >= 36);
    assert!(count(Dropped::WrongRound) > 0);
    assert!(count(Dropped::SlotTaken) > 0);
    agreed(outcome, &wallet.at(&[]));
}

#[test]
fn signing__should_take_nothing_after_its_end() {
    let wallet = Wallet::new(2, 2, "wallet");
    let mut engines = wallet.session(1, &[1, 2], &wallet.at(&[]));
    let one = engines.get_mut(&party(1)).unwrap();
    one.start().unwrap();
    assert_eq!((one.round(), one.awaited(), one.max_payload_bytes()), (1, [party(2)].into(), 56 * 1024));
    assert_eq!(one.receive(party(2), 1, b"").err().unwrap().reason, AbortReason::Malformed);
    assert_eq!(one.receive(party(2), 2, b"").unwrap().dropped, Some(Dropped::Ended));
    assert!(one.awaited().is_empty());
    assert_eq!(one.start().err().unwrap().reason, AbortReason::Engine);
}

#[test]
fn messages__should_decode_to_what_the_engine_takes_or_not_at_all() {
    let wallet = Wallet::new(3, 4, "wallet");
    let recorded = recorded(&wallet, 1, &wallet.at(&[]));
    let route = Route::new(party(1), party(2)).unwrap();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let malformed = Fault::by(AbortReason::Malformed, [party(1)]);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..3000 {
        let (round, bits) = (u8::try_from(next(3)).unwrap() + 1, next(8) + 1);
        let mut bytes = recorded[&round].clone();
        // Half of the changes near the start, where lengths, addresses and points are.
        let reach = if next(2) == 0 { bytes.len() } else { bytes.len().min(512) };
        (0..bits).for_each(|_| bytes[next(reach)] ^= 1 << next(8));
        let fault = match round {
            1 => message::decode::<Multiply>(&bytes, &route).err(),
            2 => message::decode::<TransmitPhase2to3<Curve>>(&bytes, &route).err(),
            _ => message::decode::<Broadcast3to4<Curve>>(&bytes, &route).err(),
        };
        assert!(fault.as_ref().is_none_or(|fault| *fault == malformed));
        if fault.is_some() { refused += 1 } else { taken += 1 }
    }
    assert!(taken > 300 && refused > 300, "{taken} taken, {refused} refused");
}
