//! What bounds a link's inflow before any mailbox: credit for bytes, taken on arrival and given back on consumption.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest frame that may use the reserve: handshake messages and heartbeats are shorter.
pub const SMALL_FRAME_BYTES: usize = 2048;

/// Room for one message, held as long as the value lives. A service keeps it until it is done with the message.
#[derive(Debug, Default)]
pub struct Credit {
    permit: Option<OwnedSemaphorePermit>,
    reserved: bool,
}

impl Credit {
    /// No room at all: for messages that did not come over a link.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Whether it comes out of the reserve, which messages for services may not use.
    #[must_use]
    pub(super) fn is_reserved(&self) -> bool {
        self.reserved
    }
}

/// The room of one link, shared by all its lives.
pub(super) struct Budget {
    main: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(bytes: usize, reserve_bytes: usize) -> Self {
        let semaphore = |size: usize| Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS)));
        Self { main: semaphore(bytes), reserve: semaphore(reserve_bytes) }
    }

    /// Room for a frame of this length, if there is any. Short frames have a reserve: otherwise a service that is slow to
    /// consume would starve the heartbeats of a healthy link.
    pub(super) fn admit(&self, len: usize) -> Option<Credit> {
        let size = u32::try_from(len.max(1)).ok()?;
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(size).ok();
        if let Some(permit) = take(&self.main) {
            return Some(Credit { permit: Some(permit), reserved: false });
        }
        if len > SMALL_FRAME_BYTES {
            return None;
        }
        take(&self.reserve).map(|permit| Credit { permit: Some(permit), reserved: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget__should_be_given_back_with_the_credit() {
        let budget = Budget::new(10_000, 0);
        let first = budget.admit(6_000).unwrap();
        assert_eq!(first.bytes(), 6_000);
        assert!(budget.admit(6_000).is_none());
        drop(first);
        assert!(budget.admit(6_000).is_some());
    }

    #[test]
    fn budget__should_keep_a_reserve_for_short_frames() {
        let budget = Budget::new(10_000, 300);
        let all = budget.admit(10_000).unwrap();
        assert!(budget.admit(SMALL_FRAME_BYTES + 1).is_none());
        let small = budget.admit(200).unwrap();
        assert!(small.is_reserved() && !all.is_reserved());
        assert!(budget.admit(200).is_none(), "the reserve ends too");
    }
}
