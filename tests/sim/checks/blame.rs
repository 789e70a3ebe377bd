//! Every abort names a culprit or the broker; and nobody is blamed for what no honest node does.

use quorate::error::Code;

use super::Found;
use crate::history::{Asked, History, Outcome};

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    for Asked { node, ask, ended, .. } in &history.asked {
        if let Some((at, Outcome::Failed(failure))) = ended
            && let Some(problem) = problem(failure.code, failure.culprits.is_empty())
        {
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
