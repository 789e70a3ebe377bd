//! All nodes that have a wallet have the same one, and in the end all have it or none has.

use super::Found;
use crate::history::{Asked, History, Outcome};
use crate::plan::Ask;

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    for (wallet, of_nodes) in &history.wallets {
        let records: Vec<_> = of_nodes.iter().map(|c| c.as_ref().map(|c| c.record().clone())).collect();
        if records.iter().any(|record| *record != records[0]) {
            let sessions: Vec<_> = records.iter().map(|r| r.as_ref().map(|r| r.session)).collect();
            found.push(format!("the nodes have different wallets {wallet:?}: {sessions:?}"));
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
