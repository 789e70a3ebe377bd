//! When the faults are over, all nodes are ready again within a bound, nothing is left of what was interrupted, and what is
//! asked then succeeds within a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate::error::Code;

use super::Found;
use crate::history::{Asked, History, Outcome};
use crate::plan::{Ask, SignAsk};

/// Until all nodes are ready: heartbeats, backoffs and leases.
const READY: Duration = Duration::from_secs(10);
/// Until nothing is at work any more: sessions of the time before have deadlines, pending shares are asked about.
const IDLE: Duration = Duration::from_secs(15);
/// Until a request has its result.
const ANSWER: Duration = Duration::from_secs(2);

pub fn check(history: &History) -> Found {
    let recovery = match &history.recovery {
        Ok(recovery) => recovery,
        Err(problem) => return vec![format!("the cluster did not recover: {problem}")],
    };
    let mut found = Found::new();
    if recovery.ready > READY || recovery.idle > IDLE {
        found.push(format!("the cluster took long to recover: {recovery:?}"));
    }
    // Where an id was used for two contents, either may have it.
    let mut contents: BTreeMap<(&str, &str), BTreeSet<u8>> = BTreeMap::new();
    for Asked { ask, .. } in &history.asked {
        if let Ask::Sign(SignAsk { wallet, request, content, .. }) = ask {
            contents.entry((wallet, request)).or_default().insert(*content);
        }
    }
    for Asked { node, ask, at, ended, .. } in history.asked.iter().filter(|asked| asked.afterwards) {
        let ended = ended.as_ref().map(|(end, outcome)| (*end - *at, outcome));
        let good = match (ask, &ended) {
            (_, Some((took, Outcome::Signed(_) | Outcome::Generated(_) | Outcome::Reshared(_)))) => *took <= ANSWER,
            (Ask::Sign(SignAsk { wallet, request, .. }), Some((_, Outcome::Failed(failure)))) => {
                let contested = contents[&(wallet.as_str(), request.as_str())].len() > 1;
                contested && failure.code == Code::RequestConflict
            }
            _ => false,
        };
        if !good {
            found.push(format!("after the faults, node {node} answered {ask:?} with {ended:?}"));
        }
    }
    found
}
