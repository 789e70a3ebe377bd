//! Every abort names a culprit or the broker; nobody is blamed for what no honest node does; and where no message is lost
//! and nothing has happened to anybody, nobody is named.

use std::time::Duration;

use quorate::error::{Code, Failure};

use super::Found;
use crate::history::{Asked, At, History, Outcome};

/// How long after a strike its consequences may show: links come up again, deadlines pass.
const AFTERMATH: Duration = Duration::from_secs(15);

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    for Asked { node, ask, ended, .. } in &history.asked {
        let Some((at, Outcome::Failed(failure))) = ended else { continue };
        let unfounded = blames_the_unharmed(history, *at, failure).then_some("nothing had happened to anybody");
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

/// Whether somebody is named though nothing had happened to anybody.
fn blames_the_unharmed(history: &History, at: At, failure: &Failure) -> bool {
    let lossless = history.plan.network.loss == 0.0 && history.plan.network.corruption == 0.0;
    // A conflict, a duplicate: its culprit is right to refuse.
    let refused = matches!(
        failure.code,
        Code::RequestConflict | Code::SessionDuplicate | Code::KeyAlreadyExists | Code::ReshareInProgress
    );
    let harmed = history.struck_between(None, at.saturating_sub(AFTERMATH), at).next().is_some();
    lossless && !refused && !harmed && !failure.culprits.is_empty()
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
