//! A request id stands for one content, and for one signature, whatever happens: no two are ever told, or stored.

use std::collections::BTreeMap;

use quorate::keys::Signature;

use super::Found;
use crate::history::{At, History, Outcome};
use crate::plan::{Ask, SignAsk};

/// A client that got a signature.
struct Told {
    node: usize,
    content: u8,
    signature: Signature,
    at: At,
}

pub fn check(history: &History) -> Found {
    let mut told: BTreeMap<(String, String), Vec<Told>> = BTreeMap::new();
    for asked in &history.asked {
        let Ask::Sign(SignAsk { wallet, request, content, .. }) = &asked.ask else { continue };
        if let Some((at, Outcome::Signed(signed))) = asked.ended.as_ref() {
            let one = Told { node: asked.node, content: *content, signature: signed.signature, at: *at };
            told.entry((wallet.clone(), request.clone())).or_default().push(one);
        }
    }
    let mut found: Found =
        told.iter().filter_map(|(name, told)| broken(told).map(|broken| format!("{name:?}: {broken}"))).collect();
    for (name, records) in &history.admissions {
        let mut answered = records.iter().flatten().filter_map(|record| Some((record.content, record.answer?)));
        let first = answered.next();
        for other in answered.filter(|&other| Some(other) != first) {
            let contents = first.is_some_and(|(content, _)| content != other.0);
            found.push(format!("{name:?}: two {} are stored", if contents { "contents" } else { "signatures" }));
        }
    }
    found
}

fn broken(told: &[Told]) -> Option<String> {
    let first = told.first()?;
    let other = told.iter().find(|one| (one.content, one.signature) != (first.content, first.signature))?;
    let what = if other.content == first.content { "signature" } else { "content" };
    Some(format!(
        "node {} told one {what} at {:?}, node {} another at {:?}",
        first.node, first.at, other.node, other.at
    ))
}
