//! What many runs were made of: whoever reads that all promises were kept, should see how often they were tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Asked, History, Outcome};
use crate::liar::Lie;
use crate::plan::{Ask, SignAsk};

/// Counts of many runs.
#[derive(Default)]
pub struct Census {
    runs: u64,
    strikes: BTreeMap<String, u64>,
    /// How requests ended while faults struck.
    ends: BTreeMap<String, u64>,
    /// What members that lie told.
    lies: BTreeMap<Lie, u64>,
    /// The seeds of request ids for which two nodes told two signatures of the one content.
    two_signatures: Vec<u64>,
}

impl Census {
    /// Adds a run.
    pub fn add(&mut self, history: &History) {
        self.runs += 1;
        for (_, strike) in &history.plan.strikes {
            *self.strikes.entry(strike.kind()).or_default() += 1;
        }
        for (&lie, &count) in &history.lies {
            *self.lies.entry(lie).or_default() += count;
        }
        let mut told: BTreeMap<(&str, &str), BTreeSet<[u8; 64]>> = BTreeMap::new();
        for Asked { ask, ended, afterwards, .. } in &history.asked {
            if let (Ask::Sign(SignAsk { wallet, request, .. }), Some((_, Outcome::Signed(signed)))) = (ask, ended) {
                told.entry((wallet, request)).or_default().insert(signed.signature.to_bytes());
            }
            if let Some((_, outcome)) = ended.as_ref().filter(|_| !afterwards) {
                *self.ends.entry(outcome.kind()).or_default() += 1;
            }
        }
        let of_two = told.values().filter(|signatures| signatures.len() > 1);
        self.two_signatures.extend(of_two.map(|_| history.plan.seed));
    }
}

impl Census {
    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The lies that nobody told.
    pub fn untold(&self) -> Vec<Lie> {
        Lie::ALL.into_iter().filter(|lie| !self.lies.contains_key(lie)).collect()
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} runs", self.runs)?;
        writeln!(f, "strikes: {:?}", self.strikes)?;
        writeln!(f, "lies: {:?}", self.lies)?;
        writeln!(f, "requests meanwhile: {:?}", self.ends)?;
        write!(f, "request ids with two signatures of one content, by seed: {:?}", self.two_signatures)
    }
}
