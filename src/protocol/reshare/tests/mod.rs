//! Runs without an adversary; the adversary has its own module.

mod adversary;

use k256::elliptic_curve::PrimeField;
use k256::{ProjectivePoint, Scalar};

use super::*;
use crate::ids::Threshold;
use crate::keys::{ChainCode, DerivationPath, PublicKey, Signature, TapTweak};
use crate::protocol::derivation::{Derived, derive};
use crate::protocol::ecdsa_signing::EcdsaSigning;
use crate::protocol::frost_signing::FrostSigning;
use crate::protocol::pair::testbed::pairs_of;
use crate::protocol::rng;
use crate::protocol::testbed::{Ending, Outcome, Parties, contexts, deal, run, run_in_order, subsets};
use crate::protocol::verify::verify;

const MESSAGE: [u8; 32] = [7; 32];

fn party(index: u8) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

/// A wallet in three schemes: the nodes that hold it, and their shares in the same order.
#[derive(Clone)]
struct Wallet {
    nodes: Vec<u8>,
    shares: BTreeMap<Scheme, Vec<Arc<KeyShare>>>,
}

impl Wallet {
    fn new(t: u8, nodes: &[u8]) -> Self {
        let threshold = Threshold::new(t, u8::try_from(nodes.len()).unwrap()).unwrap();
        let shares = |scheme| deal(scheme, threshold, &mut rng::os()).into_iter().map(Arc::new).collect();
        Self { nodes: nodes.to_vec(), shares: Scheme::ALL.into_iter().map(|scheme| (scheme, shares(scheme))).collect() }
    }

    fn keys(&self) -> Vec<PublicKey> {
        self.shares.values().map(|shares| shares[0].public_key()).collect()
    }

    fn position(&self, node: u8) -> Option<usize> {
        self.nodes.iter().position(|&other| other == node)
    }

    /// The engines of a reshare by the nodes of `quorum` to those of `nodes`, by index in the session.
    fn session(&self, session: u8, quorum: &[u8], t: u8, nodes: &[u8]) -> Session {
        let everybody: BTreeSet<u8> = quorum.iter().chain(nodes).copied().collect();
        let indices: BTreeMap<u8, PartyIndex> = everybody.iter().copied().zip((1..).map(party)).collect();
        let index = |position: usize| party(u8::try_from(position).unwrap() + 1);
        let dealers: BTreeMap<_, _> =
            quorum.iter().map(|node| (indices[node], index(self.position(*node).unwrap()))).collect();
        let old_key =
            |shares: &Vec<Arc<KeyShare>>| OldKey { group: shares[0].group().clone(), dealers: dealers.clone() };
        let plan = ResharePlan {
            keys: self.shares.iter().map(|(&scheme, shares)| (scheme, old_key(shares))).collect(),
            threshold: Threshold::new(t, u8::try_from(nodes.len()).unwrap()).unwrap(),
            receivers: nodes.iter().enumerate().map(|(position, node)| (indices[node], index(position))).collect(),
        };
        let contexts = contexts(session, &indices.values().map(|index| index.get()).collect::<Vec<_>>());
        let seats = everybody.iter().zip(contexts).map(|(&node, context)| {
            let shares = self.position(node).filter(|_| quorum.contains(&node)).map(|position| {
                self.shares.iter().map(|(&scheme, shares)| (scheme, Arc::clone(&shares[position]))).collect()
            });
            (context, shares.unwrap_or_default())
        });
        Session { nodes: nodes.to_vec(), seats: seats.collect(), indices, plan }
    }

    fn reshare(&self, quorum: &[u8], t: u8, nodes: &[u8]) -> Self {
        let session = self.session(1, quorum, t, nodes);
        let outcome = run(session.parties());
        let new = session.wallet(outcome);
        assert_eq!(new.keys(), self.keys(), "the keys are what they were");
        new
    }

    fn derived(&self, scheme: Scheme, path: &[u32]) -> Derived {
        let path = DerivationPath::try_from(path.to_vec()).unwrap();
        derive(&self.shares[&scheme][0].public_key(), &ChainCode([9; 32]), &path).unwrap()
    }

    /// Signs with the shares at these indices, and checks the signature.
    fn sign(&self, scheme: Scheme, signers: &[u8], path: &[u32]) {
        let (shares, derived) = (&self.shares[&scheme], self.derived(scheme, path));
        let outputs = run(signing(shares, signers, &derived)).into_outputs().unwrap();
        let tweak = (scheme == Scheme::Bip340).then_some(TapTweak::KeyPathOnly);
        for signature in outputs.values() {
            verify(&derived.public_key, &MESSAGE, tweak, signature).unwrap();
        }
    }

    fn sign_all(&self) {
        let threshold = self.shares[&Scheme::Ecdsa][0].threshold();
        let quorums = subsets(threshold.parties(), threshold.signers());
        for scheme in Scheme::ALL {
            self.sign(scheme, quorums.first().unwrap(), &[]);
            self.sign(scheme, quorums.last().unwrap(), &[44, 0, 7]);
        }
    }
}

/// The signers at these indices, each with its share.
fn signing(shares: &[Arc<KeyShare>], signers: &[u8], derived: &Derived) -> Parties<Signature> {
    let signer = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = Signature>>) {
        let (me, share) = (context.me, &shares[usize::from(context.me.get()) - 1]);
        if share.scheme() == Scheme::Ecdsa {
            let pairs = pairs_of(&context);
            return (me, Box::new(EcdsaSigning::new(&context, share, pairs, derived, b"wallet", MESSAGE).unwrap()));
        }
        let tweak = (share.scheme() == Scheme::Bip340).then_some(TapTweak::KeyPathOnly);
        (me, Box::new(FrostSigning::new(context, share, derived, MESSAGE.to_vec(), tweak, rng::os()).unwrap()))
    };
    contexts(9, signers).into_iter().map(signer).collect()
}

/// A reshare that is about to start.
struct Session {
    nodes: Vec<u8>,
    indices: BTreeMap<u8, PartyIndex>,
    seats: Vec<(RunContext, BTreeMap<Scheme, Arc<KeyShare>>)>,
    plan: ResharePlan,
}

impl Session {
    fn parties(&self) -> Parties<ReshareOutput> {
        let seat = |(context, shares): &(RunContext, BTreeMap<Scheme, Arc<KeyShare>>)| {
            let engine = Reshare::new(context.clone(), self.plan.clone(), shares.clone(), rng::os()).unwrap();
            (context.me, Box::new(engine) as Box<dyn Party<Output = ReshareOutput>>)
        };
        self.seats.iter().map(seat).collect()
    }

    /// The wallet that all parties of a run ended with, after checking that they agree.
    fn wallet(&self, outcome: Outcome<ReshareOutput>) -> Wallet {
        let mut outputs = outcome.into_outputs().unwrap();
        let first = outputs.values().next().unwrap();
        let (groups, transcript) = (first.groups.clone(), first.transcript);
        for (party, output) in &outputs {
            assert_eq!((&output.groups, output.transcript), (&groups, transcript));
            let member = self.plan.receivers.get(party);
            assert_eq!(output.shares.len(), if member.is_some() { self.plan.keys.len() } else { 0 });
            assert!(
                output
                    .shares
                    .iter()
                    .all(|(scheme, share)| { Some(&share.index()) == member && share.group() == &groups[scheme] })
            );
        }
        let mut shares: BTreeMap<Scheme, Vec<_>> = BTreeMap::new();
        for node in &self.nodes {
            for (scheme, share) in std::mem::take(&mut outputs.get_mut(&self.indices[node]).unwrap().shares) {
                shares.entry(scheme).or_default().push(Arc::new(share));
            }
        }
        Wallet { nodes: self.nodes.clone(), shares }
    }
}

#[test]
fn reshare__should_give_any_committee_and_threshold_the_same_keys() {
    let cases: [(u8, &[u8], u8, &[u8]); 9] = [
        (2, &[1, 2], 2, &[1, 2, 3]),
        (2, &[1, 2, 3], 3, &[1, 2, 3, 4, 5]),
        (3, &[1, 2, 3, 4, 5], 2, &[6, 7, 8]),
        (2, &[1, 2, 3], 2, &[1, 2]),
        (3, &[1, 2, 3, 4, 5], 5, &[1, 2, 3, 4, 5]),
        (4, &[1, 2, 3, 4, 5], 2, &[1, 2, 3, 4, 5]),
        // The same nodes at other indices, and some others between them.
        (2, &[1, 2, 3], 2, &[3, 1, 2]),
        (3, &[5, 1, 4, 2, 3], 3, &[9, 3, 7, 5]),
        (2, &[1, 2], 2, &[4, 3]),
    ];
    for (t, nodes, new_t, new_nodes) in cases {
        let wallet = Wallet::new(t, nodes);
        wallet.sign_all();
        let new = wallet.reshare(&nodes[nodes.len() - usize::from(t)..], new_t, new_nodes);
        new.sign_all();
    }
}

#[test]
fn reshare__should_work_from_every_quorum_of_a_small_committee() {
    for (t, nodes) in [(2, &[1, 2, 3][..]), (3, &[1, 2, 3, 4])] {
        let wallet = Wallet::new(t, nodes);
        for quorum in subsets(u8::try_from(nodes.len()).unwrap(), t) {
            let new = wallet.reshare(&quorum, 2, &[2, 5, 3]);
            for signers in subsets(3, 2) {
                new.sign(Scheme::Ed25519, &signers, &[]);
            }
        }
    }
}

#[test]
fn reshare__should_keep_the_keys_through_many_generations() {
    let mut wallet = Wallet::new(2, &[1, 2, 3]);
    for (quorum, t, nodes) in [
        (&[1, 3][..], 3, &[1, 2, 3, 4, 5][..]),
        (&[2, 4, 5], 2, &[6, 7, 8]),
        (&[6, 8], 2, &[6, 7, 8]),
        (&[7, 8], 3, &[1, 6, 2, 7]),
    ] {
        wallet = wallet.reshare(quorum, t, nodes);
    }
    wallet.sign_all();
}

#[test]
fn repair__should_give_a_node_a_share_again_without_the_one_it_lost() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let repaired = wallet.reshare(&[1, 3], 2, &[1, 2, 3]);
    for scheme in Scheme::ALL {
        repaired.sign(scheme, &[2, 3], &[1]);
    }
}

/// The point that shares of a secp256k1 key interpolate to.
fn interpolated(shares: [&KeyShare; 2]) -> Vec<u8> {
    let x = shares.map(|share| Scalar::from(u64::from(share.index().get())));
    let y = shares
        .map(|share| Scalar::from_repr(<[u8; 32]>::try_from(share.signing_scalar().expose()).unwrap().into()).unwrap());
    let key = y[0] * x[1] * (x[1] - x[0]).invert().unwrap() + y[1] * x[0] * (x[0] - x[1]).invert().unwrap();
    k256::PublicKey::try_from(ProjectivePoint::GENERATOR * key).unwrap().to_sec1_bytes().to_vec()
}

#[test]
fn refresh__should_make_old_shares_useless_together_with_new_ones() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let refreshed = wallet.reshare(&[1, 2], 2, &[1, 2, 3]);
    refreshed.sign_all();
    let (old, new) = (&wallet.shares[&Scheme::Ecdsa], &refreshed.shares[&Scheme::Ecdsa]);
    let key = wallet.keys()[0].as_bytes().to_vec();
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        assert_eq!(interpolated([&old[a], &old[b]]), key);
        assert_eq!(interpolated([&new[a], &new[b]]), key);
        assert_ne!(interpolated([&old[a], &new[b]]), key);
        assert_ne!(interpolated([&new[a], &old[b]]), key);
    }
    for scheme in Scheme::ALL {
        let mixed = [Arc::clone(&wallet.shares[&scheme][0]), Arc::clone(&refreshed.shares[&scheme][1])];
        let outcome = run(signing(&mixed, &[1, 2], &wallet.derived(scheme, &[])));
        assert!(outcome.endings.values().all(|ending| ending.output().is_none()), "{scheme}");
    }
}

#[test]
fn reshare__should_not_depend_on_the_order_of_delivery() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let session = wallet.session(1, &[1, 3], 3, &[2, 3, 4, 5]);
    for stride in [1, 3, 7, 11] {
        let mut count = 0;
        let pick = |len| {
            count += stride;
            count % len
        };
        session.wallet(run_in_order(session.parties(), |envelope| vec![envelope], pick));
    }
    // The last message first: every round comes early for somebody.
    session.wallet(run_in_order(session.parties(), |envelope| vec![envelope], |len| len - 1));
}

#[test]
fn reshare__should_serve_keys_of_different_committees_in_one_run() {
    // The Ed25519 key is held by nodes 1 to 3 at other indices than the ECDSA key by nodes 2 to 4.
    let (ecdsa, ed25519) = (Wallet::new(2, &[2, 3, 4]), Wallet::new(3, &[3, 2, 1]));
    let mut session = ecdsa.session(1, &[2, 4], 2, &[1, 2, 3]);
    let other = ed25519.session(1, &[1, 2, 3], 2, &[1, 2, 4]);
    assert_eq!(session.indices, other.indices, "nodes 1 to 4 both times");
    session.plan.keys.retain(|&scheme, _| scheme == Scheme::Ecdsa);
    session.plan.keys.insert(Scheme::Ed25519, other.plan.keys[&Scheme::Ed25519].clone());
    for ((_, shares), (_, others)) in session.seats.iter_mut().zip(&other.seats) {
        shares.retain(|&scheme, _| scheme == Scheme::Ecdsa);
        shares.extend(others.get(&Scheme::Ed25519).map(|share| (Scheme::Ed25519, Arc::clone(share))));
    }
    let new = session.wallet(run(session.parties()));
    assert_eq!(new.keys(), [ecdsa.keys()[0], ed25519.keys()[1]]);
    new.sign(Scheme::Ecdsa, &[1, 3], &[]);
    new.sign(Scheme::Ed25519, &[1, 2], &[]);
}

#[test]
fn reshare__should_have_those_agree_who_neither_deal_nor_receive() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let mut session = wallet.session(1, &[1, 2], 2, &[1, 2]);
    let everybody: BTreeSet<PartyIndex> = [1, 2, 7].map(party).into();
    let witness = RunContext { me: party(7), ..session.seats[0].0.clone() };
    session.seats.push((witness, BTreeMap::new()));
    for (context, _) in &mut session.seats {
        context.parties.clone_from(&everybody);
    }
    session.wallet(run(session.parties())).sign_all();
}

#[test]
fn reshare__should_refuse_what_does_not_hold_together() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let session = wallet.session(1, &[1, 2], 2, &[2, 3, 4]);
    let refuse = |seat: usize, change: fn(&mut RunContext, &mut ResharePlan, &mut BTreeMap<Scheme, Arc<KeyShare>>)| {
        let ((mut context, mut shares), mut plan) = (session.seats[seat].clone(), session.plan.clone());
        change(&mut context, &mut plan, &mut shares);
        Reshare::new(context, plan, shares, rng::os()).err()
    };
    assert_eq!(refuse(0, |_, _, _| ()), None);
    assert_eq!(refuse(0, |context, _, _| context.me = party(9)), Some(SetupError::NotAParticipant));
    assert_eq!(refuse(0, |_, plan, _| plan.keys.clear()), Some(SetupError::NoScheme));
    let committees: [fn(&mut ResharePlan); 7] = [
        |plan| plan.threshold = Threshold::new(2, 4).unwrap(),
        |plan| {
            plan.receivers.insert(party(3), party(1));
        },
        |plan| {
            plan.receivers.remove(&party(4));
        },
        |plan| {
            plan.receivers.insert(party(9), party(4));
        },
        |plan| {
            plan.keys.get_mut(&Scheme::Ecdsa).unwrap().dealers.remove(&party(1));
        },
        |plan| {
            plan.keys.get_mut(&Scheme::Ecdsa).unwrap().dealers.insert(party(1), party(2));
        },
        |plan| {
            plan.keys.get_mut(&Scheme::Ecdsa).unwrap().dealers.insert(party(1), party(4));
        },
    ];
    for change in committees {
        let (context, shares) = session.seats[0].clone();
        let mut plan = session.plan.clone();
        change(&mut plan);
        assert_eq!(Reshare::new(context, plan, shares, rng::os()).err(), Some(SetupError::Committee));
    }
    assert_eq!(refuse(0, |_, _, shares| shares.clear()), Some(SetupError::WrongShare));
    // Another's share, of the right key.
    let (context, _) = session.seats[0].clone();
    let (_, others) = session.seats[1].clone();
    assert_eq!(Reshare::new(context, session.plan.clone(), others, rng::os()).err(), Some(SetupError::WrongShare));
    // The right index, of another key.
    let (context, _) = session.seats[0].clone();
    let foreign = Wallet::new(2, &[1, 2, 3]).session(1, &[1, 2], 2, &[2, 3, 4]).seats[0].1.clone();
    assert_eq!(Reshare::new(context, session.plan.clone(), foreign, rng::os()).err(), Some(SetupError::WrongShare));
}

#[test]
fn reshare__should_wait_only_for_those_who_have_something_to_say() {
    let wallet = Wallet::new(2, &[1, 2, 3]);
    let session = wallet.session(1, &[1, 2], 2, &[3, 4, 5]);
    let mut parties = session.parties();
    for (index, awaited) in [(1, &[2][..]), (3, &[1, 2])] {
        let engine = parties.get_mut(&party(index)).unwrap();
        engine.start().unwrap();
        assert_eq!(engine.awaited(), awaited.iter().copied().map(party).collect(), "party {index}");
    }
}
