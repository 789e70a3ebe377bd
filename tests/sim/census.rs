//! What many runs were made of: whoever reads that all promises were kept, should see how often they were tried.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Asked, History};
use crate::liar::Lie;

/// Counts of many runs.
#[derive(Default)]
pub struct Census {
    runs: u64,
    strikes: BTreeMap<String, u64>,
    /// How requests ended while faults struck.
    ends: BTreeMap<String, u64>,
    /// What members that lie told.
    lies: BTreeMap<Lie, u64>,
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
        for Asked { ended, afterwards, .. } in &history.asked {
            if let Some((_, outcome)) = ended.as_ref().filter(|_| !afterwards) {
                *self.ends.entry(outcome.kind()).or_default() += 1;
            }
        }
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
        write!(f, "requests meanwhile: {:?}", self.ends)
    }
}
