//! The wall clock that deadlines are agreed in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since the Unix epoch, advanced by tokio's clock: it never jumps while the process runs, and it stands
/// still where a test pauses time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// Reads the system's clock once. Call within a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::starting_at(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// A clock that shows `now_ms` now.
    #[must_use]
    pub fn starting_at(now_ms: u64) -> Self {
        Self { started: Instant::now(), started_ms: now_ms }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_ms.saturating_add(elapsed)
    }

    /// What this clock will show after a time.
    #[must_use]
    pub fn deadline_ms(&self, within: Duration) -> u64 {
        self.now_ms().saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment at which this clock will show `deadline_ms`: now, if it is past.
    #[must_use]
    pub fn instant_of(&self, deadline_ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(deadline_ms.saturating_sub(self.now_ms()))
    }
}
