//! Which counters of a link have been seen: at most once each, in any order within a window.

/// How far behind the newest a counter may be and still be taken.
pub const WINDOW: u64 = 2048;

const WORDS: usize = (WINDOW / 64) as usize;

/// A sliding window over the counters of one direction of one session (the method of RFC 4303, section 3.4.3).
///
/// Ask with [`is_fresh`](Self::is_fresh) before a record is opened, and [`mark`](Self::mark) only after it proved
/// authentic: otherwise a forged counter would push the window past the true ones.
pub struct ReplayWindow {
    /// One past the highest counter marked.
    next: u64,
    /// Bit `counter % WINDOW` of the last [`WINDOW`] counters below `next`.
    seen: Box<[u64; WORDS]>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { next: 0, seen: Box::new([0; WORDS]) }
    }
}

impl ReplayWindow {
    /// Whether `counter` is neither seen nor too old. The highest counter of all is never fresh: Noise reserves it.
    #[must_use]
    pub fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter != u64::MAX;
        }
        self.next - counter <= WINDOW && self.seen.get(slot(counter)).is_some_and(|word| word & bit(counter) == 0)
    }

    /// Remembers a counter that [`is_fresh`](Self::is_fresh) said yes to.
    pub fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let forgotten = (counter - self.next).min(WINDOW - 1);
            for skipped in counter - forgotten..=counter {
                if let Some(word) = self.seen.get_mut(slot(skipped)) {
                    *word &= !bit(skipped);
                }
            }
            self.next = counter.saturating_add(1);
        }
        if let Some(word) = self.seen.get_mut(slot(counter)) {
            *word |= bit(counter);
        }
    }

    /// One past the highest counter marked: how many records the other side has sealed, at least.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }
}

fn slot(counter: u64) -> usize {
    (counter % WINDOW / 64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn window__should_take_each_counter_once() {
        let cases: &[(&[u64], u64, bool)] = &[
            (&[], 0, true),
            (&[], 1 << 40, true),
            (&[], u64::MAX, false),
            (&[0], 0, false),
            (&[0], 1, true),
            (&[5], 3, true),
            (&[5, 3], 3, false),
            (&[WINDOW], 0, false),
            (&[WINDOW], 1, true),
            (&[WINDOW - 1], 0, true),
            (&[0, WINDOW], WINDOW + 1, true),
            (&[3, 3 + WINDOW], 3 + 2 * WINDOW, true),
            (&[7, 10 * WINDOW], 7, false),
            (&[7, 10 * WINDOW], 9 * WINDOW + 7, true),
            (&[63, 64], 65, true),
            (&[u64::MAX - 1], u64::MAX - 1, false),
            (&[u64::MAX - 1], u64::MAX - 2, true),
        ];
        for (marked, asked, fresh) in cases {
            let mut window = ReplayWindow::default();
            for &counter in *marked {
                assert!(window.is_fresh(counter), "{marked:?}");
                window.mark(counter);
            }
            assert_eq!(window.is_fresh(*asked), *fresh, "{marked:?} then {asked}");
        }
    }

    proptest! {
        #[test]
        fn window__should_agree_with_a_set(counters in proptest::collection::vec(0_u64..3 * WINDOW, 1..400)) {
            let (mut window, mut seen, mut highest) = (ReplayWindow::default(), BTreeSet::new(), 0);
            for counter in counters {
                let expected = !seen.contains(&counter) && counter + WINDOW >= highest;
                prop_assert_eq!(window.is_fresh(counter), expected, "{} below {}", counter, highest);
                if expected {
                    window.mark(counter);
                    seen.insert(counter);
                    highest = highest.max(counter + 1);
                }
            }
        }
    }
}
