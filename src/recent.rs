//! What was met lately, remembered for a while: pure.

use std::collections::{BTreeSet, VecDeque};

/// How many are remembered.
const MAX_REMEMBERED: usize = 4096;

/// The last 4096 of a kind, by their hashes or the like.
pub(crate) struct Recent<T> {
    known: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T> Recent<T> {
    /// Nothing is remembered.
    #[must_use]
    pub const fn new() -> Self {
        Self { known: BTreeSet::new(), order: VecDeque::new() }
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Ord + Copy> Recent<T> {
    /// Remembers one, and forgets the oldest where there are too many.
    pub fn insert(&mut self, one: T) {
        if self.known.insert(one) {
            self.order.push_back(one);
        }
        while self.order.len() > MAX_REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether this one is remembered.
    #[must_use]
    pub fn contains(&self, one: T) -> bool {
        self.known.contains(&one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent__should_forget_the_oldest_alone() {
        let mut recent = Recent::default();
        let last = u16::try_from(MAX_REMEMBERED).unwrap();
        for number in (0..=last).chain([last]) {
            recent.insert(number);
        }
        assert!(!recent.contains(0));
        assert!((1..=last).all(|number| recent.contains(number)));
    }
}
