//! A request id stands for one content, and for one signature.
//!
//! Never are two contents signed under one id, whatever happens. A node that has told a signature tells the same one for
//! ever. And as long as nothing goes wrong between the first question and the last answer, all nodes tell the same. (If
//! something does, a participant may have the signature of a session that failed for all others: they know nothing of it
//! when they are asked again, and make another one, of the same content.)

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
    // When somebody first asked, whatever came of it.
    let mut first: BTreeMap<(String, String), At> = BTreeMap::new();
    for asked in &history.asked {
        let Ask::Sign(SignAsk { wallet, request, content, .. }) = &asked.ask else { continue };
        let name = (wallet.clone(), request.clone());
        first.entry(name.clone()).or_insert(asked.at);
        if let Some((at, Outcome::Signed(signed))) = asked.ended.as_ref() {
            let one = Told { node: asked.node, content: *content, signature: signed.signature, at: *at };
            told.entry(name).or_default().push(one);
        }
    }
    let mut found: Found = told
        .iter()
        .filter_map(|(name, told)| broken(history, first[name], told).map(|b| format!("{name:?}: {b}")))
        .collect();
    for (name, records) in &history.admissions {
        let mut answered = records.iter().flatten().filter(|record| record.answer.is_some());
        let first = answered.next().map(|record| record.content);
        if answered.any(|record| Some(record.content) != first) {
            found.push(format!("{name:?}: two contents are stored as answered"));
        }
        if history.plan.is_quiet() {
            let mut answers = records.iter().flatten().filter_map(|record| record.answer);
            let first = answers.next();
            if answers.any(|answer| Some(answer) != first) {
                found.push(format!("{name:?}: two signatures are stored, and nothing had happened"));
            }
        }
    }
    found
}

fn broken(history: &History, asked: At, told: &[Told]) -> Option<String> {
    let first = told.first()?;
    for one in told {
        if one.content != first.content {
            return Some(format!("node {} signed {}, node {} {}", first.node, first.content, one.node, one.content));
        }
        let other = told.iter().find(|other| other.node == one.node && other.signature != one.signature);
        if let Some(other) = other {
            return Some(format!("node {} told two signatures, at {:?} and {:?}", one.node, one.at, other.at));
        }
    }
    let last = told.iter().map(|one| one.at).max()?;
    let lossless = history.plan.network.loss == 0.0 && history.plan.network.corruption == 0.0;
    let undisturbed = lossless && history.struck_between(None, asked, last).next().is_none();
    let other = told.iter().find(|one| one.signature != first.signature).filter(|_| undisturbed)?;
    Some(format!("nodes {} and {} told two signatures, and nothing had happened", first.node, other.node))
}
