//! One life of the store at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::StorageError;

/// Lets one life of the store in, and the next when the former is really over.
///
/// An actor's end is not the store's end: a write on the blocking pool may still hold it. The pass goes with the
/// store, so the next life waits for the last holder, not for the actor.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Mutex<()>>);

/// Held as long as the store is open.
#[derive(Debug)]
pub(super) struct Pass(#[expect(dead_code, reason = "held for its drop")] OwnedMutexGuard<()>);

impl Gate {
    /// A gate that nobody has passed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the former life is over, at most `limit`.
    ///
    /// # Errors
    /// When it is not over by then.
    pub(super) async fn pass(&self, limit: Duration) -> Result<Pass, StorageError> {
        let waiting = tokio::time::timeout(limit, Arc::clone(&self.0).lock_owned());
        waiting.await.map(Pass).map_err(|_| StorageError::StillOpen)
    }

    /// Waits until nobody holds the store any more, at most `limit`: then it is closed, and its keys are wiped.
    ///
    /// # Errors
    /// When somebody still holds it by then.
    pub async fn closed(&self, limit: Duration) -> Result<(), StorageError> {
        self.pass(limit).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    #[tokio::test]
    async fn gate__should_let_one_pass_at_a_time() {
        let gate = Gate::new();
        let first = gate.pass(Duration::ZERO).await.unwrap();
        assert!(matches!(gate.clone().pass(Duration::ZERO).await, Err(StorageError::StillOpen)));
        assert!(Gate::new().pass(Duration::ZERO).await.is_ok(), "another store has its own gate");
        drop(first);
        assert!(gate.pass(Duration::ZERO).await.is_ok());
    }
}
