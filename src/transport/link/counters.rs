//! What passed a link and what did not, over all its lives.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::Dropped;

/// Counts of one link since the transport was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkTraffic {
    /// Messages sealed and handed to the broker.
    pub sent: u64,
    /// Messages handed to a service.
    pub delivered: u64,
    /// Messages that no service took.
    pub undelivered: u64,
    /// Frames that are not from the peer, or were altered.
    pub not_authentic: u64,
    /// Frames seen before, or too old.
    pub replayed: u64,
    /// Handshake messages that nothing waited for, and frames under keys that are not known.
    pub stale: u64,
    /// Frames beyond the link's budget or limits.
    pub over_limit: u64,
    /// Local messages that do not fit a frame.
    pub too_long: u64,
}

/// The counters, which all lives of a link and the pump share.
#[derive(Default)]
pub(in crate::transport) struct Counters {
    pub(in crate::transport) sent: AtomicU64,
    pub(in crate::transport) delivered: AtomicU64,
    pub(in crate::transport) undelivered: AtomicU64,
    not_authentic: AtomicU64,
    replayed: AtomicU64,
    stale: AtomicU64,
    over_limit: AtomicU64,
    too_long: AtomicU64,
}

impl Counters {
    pub(in crate::transport) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::transport) fn dropped(&self, why: Dropped) {
        Self::count(match why {
            Dropped::NotAuthentic => &self.not_authentic,
            Dropped::Replayed => &self.replayed,
            Dropped::Stale => &self.stale,
            Dropped::OverLimit => &self.over_limit,
            Dropped::TooLong => &self.too_long,
        });
    }

    pub(in crate::transport) fn read(&self) -> LinkTraffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkTraffic {
            sent: read(&self.sent),
            delivered: read(&self.delivered),
            undelivered: read(&self.undelivered),
            not_authentic: read(&self.not_authentic),
            replayed: read(&self.replayed),
            stale: read(&self.stale),
            over_limit: read(&self.over_limit),
            too_long: read(&self.too_long),
        }
    }
}
