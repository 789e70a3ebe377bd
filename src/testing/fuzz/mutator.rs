//! Changes of inputs, from a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Numbers that limits and lengths are often about.
const EDGES: [u8; 9] = [0, 1, 0x7f, 0x80, 0xc0, 0xc7, 0xdd, 0xfe, 0xff];
/// The longest run of bytes that one change inserts.
const MAX_INSERTED: usize = 64;

/// Changes inputs as an adversary without knowledge of the format would. The same seed makes the same changes.
pub struct Mutator(StdRng);

impl Mutator {
    /// A source of changes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A changed `input`, with parts of `other` in it now and then.
    pub fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..self.0.random_range(1..=4) {
            self.change_once(&mut bytes, other);
        }
        bytes
    }

    fn change_once(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.at(bytes.len());
        let end = at + self.at((bytes.len() - at).min(MAX_INSERTED));
        match self.0.random_range(0..8) {
            0 => self.set(bytes, at, |rng, byte| byte ^ (1 << rng.random_range(0..8))),
            1 => self.set(bytes, at, |rng, _| rng.random()),
            2 => self.set(bytes, at, |rng, _| EDGES.get(rng.random_range(0..EDGES.len())).copied().unwrap_or_default()),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let inserted: Vec<u8> = (0..self.at(MAX_INSERTED)).map(|_| self.0.random()).collect();
                bytes.splice(at..at, inserted);
            }
            6 => {
                let repeated = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(end..end, repeated);
            }
            _ => {
                let from = self.at(other.len());
                let to = from + self.at((other.len() - from).min(MAX_INSERTED));
                bytes.splice(at..end, other.get(from..to).unwrap_or_default().iter().copied());
            }
        }
    }

    /// A place in something of this length, its end included.
    fn at(&mut self, len: usize) -> usize {
        self.0.random_range(0..=len)
    }

    fn set(&mut self, bytes: &mut [u8], at: usize, change: impl FnOnce(&mut StdRng, u8) -> u8) {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = change(&mut self.0, *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutator__should_repeat_itself_and_reach_every_length() {
        let changes = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..500).map(|_| mutator.change(b"input", b"other")).collect::<Vec<_>>()
        };
        let once = changes(7);
        assert_eq!(once, changes(7));
        assert_ne!(once, changes(8));
        assert!(once.iter().any(Vec::is_empty) && once.iter().any(|changed| changed.len() > 32));
        Mutator::new(1).change(b"", b"");
    }
}
