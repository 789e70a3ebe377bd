mod adversary;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use k256::elliptic_curve::group::GroupEncoding;
use k256::{ProjectivePoint, Scalar};

use super::*;
use crate::protocol::pair::tests::established;
use crate::protocol::rng::os;
use crate::protocol::testbed::{Ending, Parties, contexts, deal, run, run_in_order, run_with, subsets};

/// A wallet: its shares in the order of its parties, and what its sessions are bound to.
struct Wallet {
    shares: Vec<KeyShare>,
    context: Vec<u8>,
}

impl Wallet {
    fn new(t: u8, n: u8, name: &str) -> Self {
        Self { shares: deal(Scheme::Ecdsa, Threshold::new(t, n).unwrap(), &mut os()), context: name.into() }
    }

    fn own_key(&self) -> DerivedKey {
        DerivedKey { tweak: [0; 32], key: self.shares[0].public_key() }
    }

    /// The child at `tweak`, by k256 alone.
    fn child(&self, tweak: u64) -> DerivedKey {
        let parent = k256::PublicKey::from_sec1_bytes(self.shares[0].public_key().as_bytes()).unwrap();
        let tweak = Scalar::from(tweak);
        let key = (parent.to_projective() + ProjectivePoint::GENERATOR * tweak).to_affine().to_bytes();
        DerivedKey { tweak: tweak.to_bytes().into(), key: PublicKey::new(Scheme::Ecdsa, &key).unwrap() }
    }

    fn signer(
        &self,
        context: &RunContext,
        pairs: BTreeMap<PartyIndex, Arc<PairState>>,
        derived: &DerivedKey,
    ) -> Result<EcdsaSigning, EcdsaError> {
        let share = &self.shares[usize::from(context.me.get()) - 1];
        EcdsaSigning::new(context, share, pairs, derived, &self.context, DIGEST)
    }

    /// The engines of `signers` for one session.
    fn signers(&self, session: u8, signers: &[u8], derived: &DerivedKey) -> Parties<Signature> {
        let signer = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = Signature>>) {
            (context.me, Box::new(self.signer(&context, pairs_of(&context), derived).unwrap()))
        };
        contexts(session, signers).into_iter().map(signer).collect()
    }
}

const DIGEST: [u8; 32] = [7; 32];

fn party(index: u8) -> PartyIndex {
    PartyIndex::try_from(index).unwrap()
}

/// The half that `me` holds of its pair with `other`. Which of the two was 1 in the pair's setup has nothing to do with
/// which has the lower index in the wallet: in 1-2, 1-4 and 3-5 it is the lower one, in 1-3, 2-3 and 4-5 the higher.
fn half(me: PartyIndex, other: PartyIndex) -> Arc<PairState> {
    let (low, high) = (me.min(other).get(), me.max(other).get());
    let halves = &established()[usize::from(low + high) % established().len()];
    let lower_was_one = (low * high + high) % 4 != 2 && (low * high) % 3 != 0 || high - low == 2 && low > 1;
    Arc::clone(&halves[usize::from((me < other) != lower_was_one)])
}

fn pairs_of(context: &RunContext) -> BTreeMap<PartyIndex, Arc<PairState>> {
    context.others().map(|other| (other, half(context.me, other))).collect()
}
