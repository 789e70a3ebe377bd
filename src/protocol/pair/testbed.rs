//! Pair states for tests of what comes after pair setup.
#![expect(clippy::unwrap_used, reason = "only tests use it, and a setup that fails is their finding")]

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

/// Both sides of one setup for epoch 1.
pub(super) fn parties(session: u8) -> Parties<PairState> {
    let party = |context: RunContext| -> (PartyIndex, Box<dyn Party<Output = PairState>>) {
        (context.me, Box::new(PairSetup::new(&context, Epoch(1)).unwrap()))
    };
    contexts(session, &[1, 2]).into_iter().map(party).collect()
}
