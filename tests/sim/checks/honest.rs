//! Whatever a member that lies makes honest nodes see, they accuse and ban nobody but it.
//!
//! An accusation is what a node has found out by itself. Who passes on what another node says, says that it is so; and whom
//! a session waited for when its time was over, has not necessarily done anything.

use std::collections::BTreeSet;

use quorate::error::Code;

use super::Found;
use crate::history::{Asked, Ban, History, Outcome};

pub fn check(history: &History) -> Found {
    let Some(liar) = history.plan.liar.as_ref().map(|liar| liar.node) else { return Found::new() };
    let guilty = BTreeSet::from([history.ids[liar]]);
    let mut found = Found::new();
    for Asked { node, ask, ended, afterwards, .. } in history.asked.iter().filter(|asked| asked.node != liar) {
        let Some((at, Outcome::Failed(failure))) = ended else { continue };
        let is_claim = failure.reason.contains("as node");
        if accuses(failure.code) && !is_claim && !failure.culprits.is_subset(&guilty) {
            let names = &failure.culprits;
            found.push(format!("at {at:?} node {node} answered {ask:?} with {failure}, {names:?}: {afterwards}"));
        }
    }
    for (at, node, aborted) in history.aborts.iter().filter(|(_, node, _)| *node != liar) {
        let own = aborted.reported_by.is_none();
        if own && accuses(aborted.code) && !aborted.culprits.is_subset(&guilty) {
            found.push(format!("at {at:?} node {node} accused {:?}: {aborted:?}", aborted.culprits));
        }
    }
    for (at, ban) in &history.bans {
        if let Ban::Held { node, banned } = ban
            && *node != liar
            && !banned.is_subset(&BTreeSet::from([liar]))
        {
            found.push(format!("at {at:?} node {node} holds bans of {banned:?}"));
        }
    }
    found
}

/// Whether a failure with this code says that its culprits have done what no honest node does.
fn accuses(code: Code) -> bool {
    matches!(code, Code::ProtocolViolation | Code::Equivocation | Code::MsgValidation | Code::PairMismatch)
}
