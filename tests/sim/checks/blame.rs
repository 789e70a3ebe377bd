//! Every abort names a culprit or the broker; nobody is blamed for what no honest node does; and where no message is lost,
//! somebody to whom something had happened is among those who are named, unless it had happened to the node that names
//! them, or to the one that passes it on.

use std::time::Duration;

use quorate::error::{Code, Failure};

use super::Found;
use crate::history::{Asked, At, History, Outcome};
use crate::plan::Strike;

/// How long after a strike its consequences may show: links come up again, deadlines pass.
const AFTERMATH: Duration = Duration::from_secs(15);

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    if history.plan.liar.is_some() {
        // A member that lies makes others fail in every way: whom they accuse of it is a check of its own.
        return found;
    }
    for Asked { node, ask, ended, .. } in &history.asked {
        let Some((at, Outcome::Failed(failure))) = ended else { continue };
        let unfounded =
            blames_the_unharmed(history, *node, *at, failure).then_some("nothing had happened to any of them");
        if let Some(problem) = problem(failure.code, failure.culprits.is_empty()).or(unfounded) {
            found.push(format!("at {at:?} node {node} answered {ask:?} with {failure}: {problem}"));
        }
    }
    for (at, node, aborted) in &history.aborts {
        if let Some(problem) = problem(aborted.code, aborted.culprits.is_empty()) {
            found.push(format!("at {at:?} node {node} showed {aborted:?}: {problem}"));
        }
    }
    found
}

/// Whether nothing had happened to the node, nor to anybody it names.
fn blames_the_unharmed(history: &History, node: usize, at: At, failure: &Failure) -> bool {
    let lossless = history.plan.network.loss == 0.0 && history.plan.network.corruption == 0.0;
    let halted = history.plan.strikes.iter().any(|(_, strike)| matches!(strike, Strike::Halt { .. }));
    if !lossless || halted || failure.culprits.is_empty() {
        return false;
    }
    // Whoever is harmed loses others, and says so; a coordinator passes it on.
    let reporter = (0..history.ids.len()).find(|&number| failure.reason.ends_with(&said_by(history, number)));
    let harmed = |node| history.struck_between(Some(node), at.saturating_sub(AFTERMATH), at).next().is_some();
    let mut named = (0..history.ids.len()).filter(|&number| failure.culprits.contains(&history.ids[number]));
    // A conflict, a duplicate: its culprit is right to refuse.
    let refused = matches!(
        failure.code,
        Code::RequestConflict | Code::SessionDuplicate | Code::KeyAlreadyExists | Code::ReshareInProgress
    );
    !refused && !harmed(node) && !named.any(harmed) && !reporter.is_some_and(harmed)
}

/// How a client is told that what it is told comes from a node.
fn said_by(history: &History, number: usize) -> String {
    format!("as node {} says", history.ids[number])
}

/// What is wrong with an end that has this code.
fn problem(code: Code, nobody_named: bool) -> Option<&'static str> {
    match code {
        // What befell the node itself, says so; what its client should know better, too; and without a majority, there is
        // nobody to name that the view does not show.
        Code::Cancelled
        | Code::Superseded
        | Code::StorageRead
        | Code::StorageWrite
        | Code::NotMajority
        | Code::KeyNotFound
        | Code::KeyAlreadyExists
        | Code::RequestConflict
        | Code::SessionDuplicate
        | Code::ReshareInProgress
        | Code::PairBanned
        | Code::WalletQuarantined
        | Code::ConcurrencyLimit => None,
        Code::PeerUnavailable
        | Code::SessionTimeout
        | Code::SessionStale
        | Code::ClusterNotReady
        | Code::PairMismatch
        | Code::MsgValidation
        | Code::Internal => nobody_named.then_some("nobody is named"),
        _ => Some("no node here is dishonest"),
    }
}
