//! All nodes that have a wallet have the same one, and in the end all have it or none has; and of every key each has exactly
//! the share of the generation that there is.

use std::collections::BTreeSet;

use super::Found;
use crate::history::{Asked, History, Outcome, Shares};
use crate::plan::{Ask, SHARED};

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    for (wallet, of_nodes) in &history.wallets {
        let records: Vec<_> = of_nodes.iter().map(|c| c.as_ref().map(|c| c.record().clone())).collect();
        if records.iter().any(|record| *record != records[0]) {
            let sessions: Vec<_> = records.iter().map(|r| r.as_ref().map(|r| r.session)).collect();
            found.push(format!("the nodes have different wallets {wallet:?}: {sessions:?}"));
        }
    }
    for ((node, wallet), Shares { held, expected }) in &history.shares {
        if held != expected {
            let named = |keys: &BTreeSet<Vec<u8>>| keys.iter().map(|key| key.escape_ascii().to_string()).collect();
            let (held, expected): (Vec<String>, Vec<String>) = (named(held), named(expected));
            found.push(format!("node {node} holds {held:?} of {wallet:?}, not {expected:?}"));
        }
    }
    for Asked { node, ask, ended, .. } in &history.asked {
        if let (Ask::Reshare { .. }, Some((at, Outcome::Reshared(told)))) = (ask, ended) {
            let (told, now) = (told.certificate.record(), history.wallet(SHARED));
            if now.is_none_or(|now| now != told && !now.succeeds(told)) {
                found.push(format!("node {node} told at {at:?} of a reshare by {ask:?} that there is not"));
            }
        }
    }
    // What a client was told is what there is.
    for Asked { node, ask, ended, .. } in &history.asked {
        if let (Ask::Keygen { wallet, .. }, Some((at, Outcome::Generated(made)))) = (ask, ended)
            && history.wallet(wallet) != Some(made.certificate.record())
        {
            found.push(format!("node {node} told of a wallet {wallet:?} at {at:?} that is another now"));
        }
    }
    found
}
