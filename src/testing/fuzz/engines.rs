//! What members say within a protocol: each input is an inbox of one party, fed to a fresh engine.
//!
//! ```text
//!   from 1 │ round 1 │ length of the payload 4, big-endian │ payload │ and so on
//! ```
//!
//! The seeds are what the others sent in honest runs. A fresh engine draws fresh randomness, so it takes them up to where
//! the others answered to what this party had said.
#![expect(clippy::unwrap_used, reason = "honest parties run")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::Target;
use crate::ids::{Epoch, PartyIndex, Scheme, Threshold};
use crate::keys::{ChainCode, DerivationPath};
use crate::protocol::derivation::{Derived, derive};
use crate::protocol::ecdsa_signing::EcdsaSigning;
use crate::protocol::frost_signing::FrostSigning;
use crate::protocol::keygen::Keygen;
use crate::protocol::pair::PairSetup;
use crate::protocol::pair::testbed::established;
use crate::protocol::reshare::{OldKey, Reshare, ResharePlan};
use crate::protocol::share::KeyShare;
use crate::protocol::testbed::{Parties, contexts, deal, run_with};
use crate::protocol::{Party, RunContext, rng};

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "keygen",
            seeds: || seeds(&[1, 2, 3], keygen),
            run: |inbox| feed(&[1, 2, 3], keygen, inbox),
            cost: 60,
        },
        Target {
            name: "reshare",
            seeds: || seeds(&[1, 2, 3, 4], reshare),
            run: |inbox| feed(&[1, 2, 3, 4], reshare, inbox),
            cost: 60,
        },
        Target {
            name: "pair_setup",
            seeds: || seeds(&[1, 2], pair),
            run: |inbox| feed(&[1, 2], pair, inbox),
            cost: 2000,
        },
        Target {
            name: "sign_ecdsa",
            seeds: || seeds(&[1, 2], ecdsa),
            run: |inbox| feed(&[1, 2], ecdsa, inbox),
            cost: 200,
        },
        Target {
            name: "sign_ed25519",
            seeds: || seeds(&[1, 2], ed25519),
            run: |inbox| feed(&[1, 2], ed25519, inbox),
            cost: 20,
        },
        Target {
            name: "sign_bip340",
            seeds: || seeds(&[1, 2], bip340),
            run: |inbox| feed(&[1, 2], bip340, inbox),
            cost: 20,
        },
    ]
}

/// The shares of a 2-of-3 key for every scheme.
static SHARES: LazyLock<BTreeMap<Scheme, Vec<Arc<KeyShare>>>> = LazyLock::new(|| {
    let threshold = Threshold::new(2, 3).unwrap();
    let shares = |scheme| deal(scheme, threshold, &mut *rng::os()).into_iter().map(Arc::new).collect();
    Scheme::ALL.into_iter().map(|scheme| (scheme, shares(scheme))).collect()
});

fn share(scheme: Scheme, party: PartyIndex) -> (&'static Arc<KeyShare>, Derived) {
    let share = SHARES.get(&scheme).unwrap().get(usize::from(party.get()) - 1).unwrap();
    let derived = derive(&share.public_key(), &ChainCode([9; 32]), &DerivationPath::default()).unwrap();
    (share, derived)
}

fn keygen(context: RunContext) -> Box<dyn Party<Output = ()>> {
    let schemes: BTreeSet<Scheme> = Scheme::ALL.into();
    silent(Keygen::new(context, Threshold::new(2, 3).unwrap(), &schemes, rng::os()).unwrap())
}

/// Parties 1 and 3, who hold the shares of the same indices, deal to 1, 2 and 4.
fn reshare(context: RunContext) -> Box<dyn Party<Output = ()>> {
    let party = |index: u8| PartyIndex::try_from(index).unwrap();
    let dealers = BTreeMap::from([1, 3].map(|index| (party(index), party(index))));
    let is_dealer = dealers.contains_key(&context.me);
    let old_key = |shares: &Vec<Arc<KeyShare>>| {
        let group = shares.first().unwrap().group().clone();
        OldKey { group, dealers: dealers.clone() }
    };
    let plan = ResharePlan {
        keys: SHARES.iter().map(|(&scheme, shares)| (scheme, old_key(shares))).collect(),
        threshold: Threshold::new(2, 3).unwrap(),
        receivers: [(1, 1), (2, 2), (4, 3)].map(|(me, index)| (party(me), party(index))).into(),
    };
    let own = |scheme| (scheme, Arc::clone(share(scheme, context.me).0));
    let shares = if is_dealer { Scheme::ALL.into_iter().map(own).collect() } else { BTreeMap::new() };
    silent(Reshare::new(context, plan, shares, rng::os()).unwrap())
}

fn pair(context: RunContext) -> Box<dyn Party<Output = ()>> {
    silent(PairSetup::new(&context, Epoch(1)).unwrap())
}

fn ecdsa(context: RunContext) -> Box<dyn Party<Output = ()>> {
    let (share, derived) = share(Scheme::Ecdsa, context.me);
    let other = context.others().next().unwrap();
    let half = established().first().unwrap().get(usize::from(context.me.get()) - 1).unwrap();
    let pairs = BTreeMap::from([(other, Arc::clone(half))]);
    silent(EcdsaSigning::new(&context, share, pairs, &derived, b"fuzz", [7; 32]).unwrap())
}

fn ed25519(context: RunContext) -> Box<dyn Party<Output = ()>> {
    frost(Scheme::Ed25519, context)
}

fn bip340(context: RunContext) -> Box<dyn Party<Output = ()>> {
    frost(Scheme::Bip340, context)
}

fn frost(scheme: Scheme, context: RunContext) -> Box<dyn Party<Output = ()>> {
    let (share, derived) = share(scheme, context.me);
    silent(FrostSigning::new(context, share, &derived, vec![7; 32], None, rng::os()).unwrap())
}

/// A party whose output nobody wants.
struct Silent<P>(P);

fn silent<P: Party + 'static>(party: P) -> Box<dyn Party<Output = ()>> {
    Box::new(Silent(party))
}

impl<P: Party> Party for Silent<P> {
    type Output = ();

    fn start(&mut self) -> Result<crate::protocol::Progress<()>, crate::protocol::Abort> {
        self.0.start().map(forget)
    }

    fn receive(
        &mut self,
        from: PartyIndex,
        round: u8,
        payload: &[u8],
    ) -> Result<crate::protocol::Progress<()>, crate::protocol::Abort> {
        self.0.receive(from, round, payload).map(forget)
    }

    fn round(&self) -> u8 {
        self.0.round()
    }

    fn awaited(&self) -> BTreeSet<PartyIndex> {
        self.0.awaited()
    }

    fn max_payload_bytes(&self) -> usize {
        self.0.max_payload_bytes()
    }
}

fn forget<O>(progress: crate::protocol::Progress<O>) -> crate::protocol::Progress<()> {
    let crate::protocol::Progress { send, output, dropped } = progress;
    crate::protocol::Progress { send, output: output.map(drop), dropped }
}

type Build = fn(RunContext) -> Box<dyn Party<Output = ()>>;

/// What party 1 gets in an honest run.
fn seeds(members: &[u8], build: Build) -> Vec<Vec<u8>> {
    let parties: Parties<()> = contexts(1, members).into_iter().map(|context| (context.me, build(context))).collect();
    let mut inbox = Vec::new();
    let outcome = run_with(parties, |envelope| {
        if envelope.to.get() == 1 {
            inbox.extend_from_slice(&[envelope.from.get(), envelope.round]);
            inbox.extend_from_slice(&u32::try_from(envelope.payload.len()).unwrap().to_be_bytes());
            inbox.extend_from_slice(&envelope.payload);
        }
        vec![envelope]
    });
    assert!(outcome.into_outputs().is_some(), "an honest run ends with its output");
    vec![inbox]
}

/// Feeds an inbox to party 1. Says whether it took any of it.
fn feed(members: &[u8], build: Build, mut inbox: &[u8]) -> bool {
    let mut party = build(contexts(1, members).swap_remove(0));
    party.start().unwrap();
    let mut taken = false;
    while let Some((&[from, round, a, b, c, d], rest)) = inbox.split_first_chunk() {
        let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX).min(rest.len());
        let (payload, later) = rest.split_at(len);
        inbox = later;
        let Ok(from) = PartyIndex::try_from(from) else { continue };
        match party.receive(from, round, payload) {
            Ok(progress) => taken |= progress.dropped.is_none(),
            Err(abort) => {
                let others: Vec<u8> = members.iter().copied().filter(|&member| member != 1).collect();
                let blamed = abort.culprits.iter().chain(&abort.ban);
                assert!(blamed.clone().all(|party| others.contains(&party.get())), "only others are to blame: {abort}");
                return taken;
            }
        }
    }
    taken
}
