mod adversary;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use super::*;
use crate::ids::SheetHash;
use crate::keys::{ChainCode, DerivationPath};
use crate::protocol::Dropped;
use crate::protocol::derivation::derive;
use crate::protocol::pair::testbed::{established, pairs_of};
use crate::protocol::rng::os;
use crate::protocol::testbed::{Outcome, Parties, contexts, deal, run, run_in_order, run_with, subsets};

const DIGEST: [u8; 32] = [7; 32];

/// A wallet: its shares in the order of its parties, and what its sessions are bound to.
struct Wallet {
    shares: Vec<KeyShare>,
    context: Vec<u8>,
}

impl Wallet {
    fn new(t: u8, n: u8, name: &str) -> Self {
        Self { shares: deal(Scheme::Ecdsa, Threshold::new(t, n).unwrap(), &mut os()), context: name.into() }
    }

    /// The key at `path` below the wallet's own.
    fn at(&self, path: &[u32]) -> Derived {
        let path = DerivationPath::try_from(path.to_vec()).unwrap();
        derive(&self.shares[0].public_key(), &ChainCode([9; 32]), &path).unwrap()
    }

    fn signer(
        &self,
        context: &RunContext,
        pairs: BTreeMap<PartyIndex, Arc<PairState>>,
        derived: &Derived,
    ) -> Result<EcdsaSigning, SetupError> {
        let share = &self.shares[usize::from(context.me.get()) - 1];
        EcdsaSigning::new(context, share, pairs, derived, &self.context, DIGEST)
    }

    /// The engines of one session of `signers`.
    fn session(&self, session: u8, signers: &[u8], derived: &Derived) -> Parties<Signature> {
        let signer = |context: RunContext| {
            let engine = self.signer(&context, pairs_of(&context), derived).unwrap();
            (context.me, Box::new(engine) as Box<dyn Party<Output = Signature>>)
        };
        contexts(session, signers).into_iter().map(signer).collect()
    }
}

fn party(index: u8) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

/// The one signature that all signers ended with; it verifies under `derived`.
fn agreed(outcome: Outcome<Signature>, derived: &Derived) -> Signature {
    let signatures: Vec<Signature> = outcome.into_outputs().unwrap().into_values().collect();
    assert!(signatures.windows(2).all(|pair| pair[0] == pair[1]));
    verify(&derived.public_key, &DIGEST, None, &signatures[0]).unwrap();
    signatures[0]
}

#[test]
fn signing__should_end_in_one_signature_for_every_quorum() {
    for (t, n) in [(2, 2), (2, 3), (3, 5)] {
        let wallet = Wallet::new(t, n, "wallet");
        for signers in subsets(n, t) {
            agreed(run(wallet.session(1, &signers, &wallet.at(&[]))), &wallet.at(&[]));
        }
    }
    let wallet = Wallet::new(5, 9, "wallet");
    for signers in [[1, 2, 3, 4, 5], [5, 6, 7, 8, 9], [1, 3, 5, 7, 9]] {
        agreed(run(wallet.session(1, &signers, &wallet.at(&[]))), &wallet.at(&[]));
    }
}

#[test]
fn signing__should_not_depend_on_who_was_first_in_the_pair_setup() {
    let wallet = Wallet::new(2, 2, "wallet");
    for first in [0, 1] {
        let signer = |context: RunContext| {
            let mine = (usize::from(context.me.get()) - 1) ^ first;
            let pairs = context.others().map(|other| (other, Arc::clone(&established()[0][mine]))).collect();
            let engine = wallet.signer(&context, pairs, &wallet.at(&[])).unwrap();
            (context.me, Box::new(engine) as Box<dyn Party<Output = Signature>>)
        };
        agreed(run(contexts(1, &[1, 2]).into_iter().map(signer).collect()), &wallet.at(&[]));
    }
}

#[test]
fn signing__should_take_messages_in_any_order() {
    let wallet = Wallet::new(3, 5, "wallet");
    for seed in 1_usize..6 {
        let mut state = seed;
        let pick = |len: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % len
        };
        let outcome = run_in_order(wallet.session(1, &[1, 3, 4], &wallet.at(&[])), |envelope| vec![envelope], pick);
        assert!(outcome.refused.is_empty());
        agreed(outcome, &wallet.at(&[]));
    }
}

#[test]
fn signing__should_serve_child_keys_of_the_wallet() {
    let wallet = Wallet::new(2, 3, "wallet");
    let mut keys = Vec::new();
    for path in [&[0][..], &[44, 0, 7], &[0x7fff_ffff, 1]] {
        let child = wallet.at(path);
        agreed(run(wallet.session(1, &[2, 3], &child)), &child);
        keys.push(child.public_key);
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[test]
fn signing__should_run_many_sessions_of_many_wallets_on_one_pair_state() {
    established();
    let wallets: Vec<Arc<Wallet>> = (0..4).map(|name| Arc::new(Wallet::new(2, 3, &format!("{name}")))).collect();
    let run_one = |(session, wallet): (u8, Arc<Wallet>)| {
        thread::spawn(move || {
            let child = wallet.at(&[u32::from(session)]);
            agreed(run(wallet.session(session, &[1, 2], &child)), &child)
        })
    };
    let sessions = (0..16).map(|session| (session, Arc::clone(&wallets[usize::from(session) % wallets.len()])));
    let running: Vec<_> = sessions.map(run_one).collect();
    let mut signatures: Vec<_> = running.into_iter().map(|session| session.join().unwrap().to_bytes()).collect();
    signatures.sort_unstable();
    signatures.dedup();
    assert_eq!(signatures.len(), 16, "every signature has a nonce of its own");
}

#[test]
fn signing__should_interleave_sessions_of_one_signer() {
    // Each message of the one session is delivered between those of the other, by one thread.
    let wallet = Wallet::new(2, 2, "wallet");
    let root = wallet.at(&[]);
    let mut outer = wallet.session(1, &[1, 2], &root);
    let mut first = outer.get_mut(&party(1)).unwrap().start().unwrap().send;
    let mut second = outer.get_mut(&party(2)).unwrap().start().unwrap().send;
    for round in 1..=3 {
        agreed(run(wallet.session(round + 1, &[1, 2], &root)), &root);
        let mut deliver = |to: u8, from: u8, sent: &[Outgoing]| {
            let engine = outer.get_mut(&party(to)).unwrap();
            engine.receive(party(from), round, &sent[0].payload).unwrap()
        };
        let (to_second, to_first) = (deliver(2, 1, &first), deliver(1, 2, &second));
        assert_eq!(to_first.output.is_some(), round == 3);
        assert_eq!(to_first.output, to_second.output);
        (first, second) = (to_first.send, to_second.send);
    }
}

#[test]
fn signing__should_keep_what_comes_before_its_start() {
    let wallet = Wallet::new(2, 2, "wallet");
    let mut engines = wallet.session(1, &[1, 2], &wallet.at(&[]));
    let mut second = engines.remove(&party(2)).unwrap();
    let mut first = engines.remove(&party(1)).unwrap();
    let early = second.start().unwrap().send;
    let progress = first.receive(party(2), 1, &early[0].payload).unwrap();
    assert!(progress.send.is_empty() && progress.dropped.is_none());
    let rounds: Vec<u8> = first.start().unwrap().send.iter().map(|message| message.round).collect();
    assert_eq!(rounds, [1, 2]);
}

#[test]
fn signing__should_stay_within_its_documented_sizes() {
    let wallet = Wallet::new(2, 3, "wallet");
    let mut sizes = Vec::new();
    run_with(wallet.session(1, &[1, 2], &wallet.at(&[])), |envelope| {
        sizes.push((envelope.round, envelope.payload.len()));
        vec![envelope]
    });
    sizes.dedup();
    assert_eq!(sizes, [(1, 26_786), (2, 55_387), (3, 66)]);
}

#[test]
fn signing__should_refuse_what_does_not_belong_together() {
    let wallet = Wallet::new(2, 3, "wallet");
    let root = wallet.at(&[]);
    let context = |me, parties: &[u8]| RunContext {
        session: SheetHash([1; 32]),
        me: party(me),
        parties: parties.iter().copied().map(party).collect(),
    };
    let refusal = |context: &RunContext, derived| wallet.signer(context, pairs_of(context), derived).err();

    assert_eq!(refusal(&context(1, &[1, 2]), &root), None);
    for parties in [&[1, 2, 3][..], &[1], &[1, 4]] {
        assert_eq!(refusal(&context(1, parties), &root), Some(SetupError::Committee), "{parties:?}");
    }
    assert_eq!(refusal(&context(1, &[2, 3]), &root), Some(SetupError::NotAParticipant));
    let stranger = EcdsaSigning::new(
        &context(2, &[1, 2]),
        &wallet.shares[0],
        pairs_of(&context(2, &[1, 2])),
        &root,
        b"wallet",
        DIGEST,
    );
    assert_eq!(stranger.err(), Some(SetupError::WrongShare), "the share of another party");

    let other = wallet.signer(&context(1, &[1, 2]), pairs_of(&context(1, &[1, 3])), &root);
    assert_eq!(other.err(), Some(SetupError::MissingPair(party(2))));

    let foreign = Wallet::new(2, 3, "another").at(&[]);
    assert_eq!(refusal(&context(1, &[1, 2]), &foreign), Some(SetupError::WrongKey));
    let mixed = Derived { public_key: wallet.at(&[1]).public_key, ..root.clone() };
    assert_eq!(refusal(&context(1, &[1, 2]), &mixed), Some(SetupError::WrongKey));

    let shares = deal(Scheme::Bip340, Threshold::new(2, 3).unwrap(), &mut os());
    let taproot = Wallet { shares, context: vec![] };
    let refused = taproot.signer(&context(1, &[1, 2]), pairs_of(&context(1, &[1, 2])), &taproot.at(&[]));
    assert_eq!(refused.err(), Some(SetupError::Scheme));
}
