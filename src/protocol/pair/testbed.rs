//! Pair states for tests of what comes after pair setup.
#![expect(clippy::unwrap_used, reason = "only tests use it, and a setup that fails is their finding")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread;

use super::{PairSetup, PairState};
use crate::ids::{Epoch, PartyIndex};
use crate::protocol::testbed::{Parties, contexts, run};
use crate::protocol::{Party, RunContext};

/// Both halves of a pair, by their index in its setup.
pub type Halves = [Arc<PairState>; 2];

/// The states of three pairs, of epoch 1, set up once per process: a setup takes about a second.
///
/// # Panics
/// When a setup fails.
pub fn established() -> &'static [Halves] {
    static PAIRS: OnceLock<Vec<Halves>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let set_up = |session| {
            let states = run(parties(session)).into_outputs().unwrap().into_values().map(Arc::new);
            states.collect::<Vec<_>>().try_into().ok().unwrap()
        };
        let setups: Vec<_> = (1..=3).map(|session| thread::spawn(move || set_up(session))).collect();
        setups.into_iter().map(|setup| setup.join().unwrap()).collect()
    })
}

/// The half that signer `me` holds of its pair with `other`: in every second pair, the one with the higher index in the
/// wallet was 1 in the pair's setup.
pub fn half(me: PartyIndex, other: PartyIndex) -> Arc<PairState> {
    let sum = usize::from(me.get()) + usize::from(other.get());
    let was_one = (me < other) == (sum % 2 == 1);
    let [one, two] = established().get(sum % established().len()).unwrap();
    Arc::clone(if was_one { one } else { two })
}

/// What a signer holds of its pairs with the others.
pub fn pairs_of(context: &RunContext) -> BTreeMap<PartyIndex, Arc<PairState>> {
    context.others().map(|other| (other, half(context.me, other))).collect()
}

/// Both sides of one setup for epoch 1.
pub(super) fn parties(session: u8) -> Parties<PairState> {
    let party = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = PairState>>) {
        (context.me, Box::new(PairSetup::new(&context, Epoch(1)).unwrap()))
    };
    contexts(session, &[1, 2]).into_iter().map(party).collect()
}
