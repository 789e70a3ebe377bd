//! The bounded pool that engines compute on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinError, spawn_blocking};

use crate::stack::wiped_after_engine;

/// A computation panicked; what it worked on was dropped by the unwinding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// Runs computations on blocking threads, at most a fixed number at a time, so that an actor's handler never computes
/// and a burst of sessions never starves the node. What a computation leaves on its thread's stack is wiped.
#[derive(Clone)]
pub struct CryptoPool(Arc<Semaphore>);

impl CryptoPool {
    /// A pool that runs up to `width` computations at a time, at least one.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self(Arc::new(Semaphore::new(width.max(1))))
    }

    /// A pool as wide as the machine has cores.
    #[must_use]
    pub fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Waits for a place and runs `work` there. Whoever drops the future before `work` has begun takes it back; later, it
    /// keeps its place to its end, with nobody to take the result.
    ///
    /// # Errors
    /// When `work` panics, or the runtime is going away.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        self.check(move || wiped_after_engine(work)).await
    }

    /// As [`run`](Self::run), for work that meets nothing secret: what it leaves on its stack stays there.
    ///
    /// # Errors
    /// When `work` panics, or the runtime is going away.
    pub async fn check<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        // The semaphore is never closed, so the error of a closed one cannot come; without a place we run anyway.
        let place = Arc::clone(&self.0).acquire_owned().await.ok();
        let at_place = move || {
            let _place = place;
            work()
        };
        spawn_blocking(at_place).await
    }

    /// Runs `work` there as soon as there is a place, and `then` with its outcome on the same thread: the answer costs
    /// no more than a message. What is aborted before it runs is dropped, as both are if the runtime goes away first.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(Result<T, Panicked>) + Send + 'static,
    ) -> AbortHandle {
        let job = move |place: Option<OwnedSemaphorePermit>| {
            // What a panic leaves behind is dropped with the closure; nobody sees it half changed.
            let outcome = wiped_after_engine(|| catch_unwind(AssertUnwindSafe(work))).map_err(|_| Panicked);
            drop(place);
            then(outcome);
        };
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(place) => spawn_blocking(move || job(Some(place))).abort_handle(),
            Err(_) => {
                let places = Arc::clone(&self.0);
                let waiting = tokio::spawn(async move {
                    let place = places.acquire_owned().await.ok();
                    spawn_blocking(move || job(place));
                });
                waiting.abort_handle()
            }
        }
    }
}
