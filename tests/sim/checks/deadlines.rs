//! No session outlives its deadline.

use std::time::Duration;

use super::Found;
use crate::history::{History, Sighting};
use crate::plan::Strike;
use crate::run::{LOOK_EVERY, PAIR_SETUP_DEADLINE, SIGNING_DEADLINE};

/// How long a ban or a report may hold a session up at its end, and how long two nodes' clocks are apart.
const GRACE: Duration = Duration::from_secs(3);

pub fn check(history: &History) -> Found {
    // A clock that is an hour behind sees a deadline an hour later; it is capped at ten minutes.
    let is_wrong = |strike: &Strike| matches!(strike, Strike::ClockJump { .. } | Strike::Halt { .. });
    if history.plan.strikes.iter().any(|(_, strike)| is_wrong(strike)) {
        return Found::new();
    }
    let late = history.sessions.iter().filter_map(|(seen, Sighting { first, last })| {
        let deadline = if seen.kind == "signing" { SIGNING_DEADLINE } else { PAIR_SETUP_DEADLINE };
        let ran = *last - *first;
        (ran > deadline + GRACE + LOOK_EVERY).then(|| format!("{seen:?} ran for {ran:?}"))
    });
    late.collect()
}
