//! The times and sizes of links.

use std::time::Duration;

/// When links beat, retry, renew and give up, and how much they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// How often each side beats.
    pub heartbeat: Duration,
    /// A link is lost when this many heartbeats in a row were not acknowledged.
    pub missed_heartbeats: u32,
    /// The pause before a handshake message is repeated. It doubles with each repetition.
    pub handshake_retry: Duration,
    /// The longest such pause.
    pub handshake_retry_max: Duration,
    /// How long one handshake is tried before it starts over with fresh keys.
    pub handshake_timeout: Duration,
    /// The shortest time between two handshakes that the other side asked for. Anybody can ask in its name.
    pub requested_handshake_interval: Duration,
    /// The most first messages of handshakes that a link computes on within a second; repetitions of one are free.
    pub handshakes_per_second: u32,
    /// The age at which keys are replaced. At three times this age they are no longer used, and the link fails.
    pub rekey_after: Duration,
    /// The number of records after which keys are replaced. At three times this number the link fails.
    pub rekey_after_records: u64,
    /// The pause before the second restart of a link within half a minute. It doubles with each further one, up to 32
    /// times.
    pub restart_backoff: Duration,
    /// How many bytes of messages one link holds: in its mailbox, and with the services until they are done with them.
    pub budget_bytes: usize,
    /// How many bytes besides are kept for handshakes and heartbeats.
    pub reserve_bytes: usize,
    /// How many messages of one link may wait for the broker.
    pub max_publishing: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            missed_heartbeats: 3,
            handshake_retry: Duration::from_millis(250),
            handshake_retry_max: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            requested_handshake_interval: Duration::from_millis(500),
            handshakes_per_second: 20,
            rekey_after: Duration::from_secs(600),
            rekey_after_records: 1 << 24,
            restart_backoff: Duration::from_millis(100),
            budget_bytes: 8 * 1024 * 1024,
            reserve_bytes: 32 * 1024,
            max_publishing: 1024,
        }
    }
}

impl LinkConfig {
    /// How long a link may stay without an acknowledgement: until the last heartbeat that may be missed is sent, and half
    /// an interval for its answer. 3.5 seconds by default.
    #[must_use]
    pub fn lost_after(&self) -> Duration {
        self.heartbeat * self.missed_heartbeats + self.heartbeat / 2
    }
}
