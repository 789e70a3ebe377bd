//! How often a child may be started again before its supervisor gives up.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A supervisor's limit on restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartLimit {
    /// At most this many restarts ...
    pub restarts: usize,
    /// ... within this time.
    pub within: Duration,
    /// The pause before the second restart within that time; it doubles with each further one, up to 32 times.
    pub backoff: Duration,
}

/// What a supervisor does about a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this pause.
    Restart(Duration),
    /// It fails too often: the supervisor itself fails.
    GiveUp,
}

/// Counts the failures of one child against its limit.
#[derive(Debug)]
pub struct Intensity {
    limit: RestartLimit,
    failures: VecDeque<Instant>,
}

impl Intensity {
    /// No failures yet.
    #[must_use]
    pub fn new(limit: RestartLimit) -> Self {
        Self { limit, failures: VecDeque::new() }
    }

    /// The child failed at `now`.
    pub fn failed(&mut self, now: Instant) -> Verdict {
        while self.failures.front().is_some_and(|&first| now.duration_since(first) > self.limit.within) {
            self.failures.pop_front();
        }
        if self.failures.len() >= self.limit.restarts {
            return Verdict::GiveUp;
        }
        let earlier = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        self.failures.push_back(now);
        Verdict::Restart(match earlier {
            0 => Duration::ZERO,
            n => self.limit.backoff * (1 << (n - 1).min(5)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn intensity__should_restart_at_once_then_back_off_then_give_up() {
        let limit = RestartLimit { restarts: 3, within: Duration::from_secs(10), backoff: Duration::from_millis(100) };
        let mut intensity = Intensity::new(limit);
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(intensity.failed(at(0)), Verdict::Restart(Duration::ZERO));
        assert_eq!(intensity.failed(at(1)), Verdict::Restart(Duration::from_millis(100)));
        assert_eq!(intensity.failed(at(2)), Verdict::Restart(Duration::from_millis(200)));
        assert_eq!(intensity.failed(at(3)), Verdict::GiveUp);
    }

    #[tokio::test]
    async fn intensity__should_forget_failures_that_are_long_past() {
        let limit = RestartLimit { restarts: 1, within: Duration::from_secs(10), backoff: Duration::ZERO };
        let mut intensity = Intensity::new(limit);
        let start = Instant::now();
        assert_eq!(intensity.failed(start), Verdict::Restart(Duration::ZERO));
        assert_eq!(intensity.failed(start + Duration::from_secs(11)), Verdict::Restart(Duration::ZERO));
        assert_eq!(intensity.failed(start + Duration::from_secs(12)), Verdict::GiveUp);
    }
}
