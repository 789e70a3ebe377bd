//! Sessions that are over, remembered for a while: pure.

use std::collections::{BTreeSet, VecDeque};

use crate::ids::SheetHash;

/// How many sessions are remembered.
const MAX_REMEMBERED: usize = 4096;

/// The last 4096 sessions of a kind.
#[derive(Default)]
pub(crate) struct Recent {
    known: BTreeSet<SheetHash>,
    order: VecDeque<SheetHash>,
}

impl Recent {
    /// Remembers a session, and forgets the oldest where there are too many.
    pub fn insert(&mut self, session: SheetHash) {
        if self.known.insert(session) {
            self.order.push_back(session);
        }
        while self.order.len() > MAX_REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether the session is remembered.
    #[must_use]
    pub fn contains(&self, session: SheetHash) -> bool {
        self.known.contains(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u16) -> SheetHash {
        let [high, low] = number.to_be_bytes();
        SheetHash(std::array::from_fn(|position| if position % 2 == 0 { high } else { low }))
    }

    #[test]
    fn recent__should_forget_the_oldest_alone() {
        let mut recent = Recent::default();
        let last = u16::try_from(MAX_REMEMBERED).unwrap();
        for number in (0..=last).chain([last]) {
            recent.insert(session(number));
        }
        assert!(!recent.contains(session(0)));
        assert!((1..=last).all(|number| recent.contains(session(number))));
    }
}
