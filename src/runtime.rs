//! The runtime that a node runs on, and a watch over it.
//!
//! Actors decide and pass on; engines compute and the store writes on blocking threads. So the actors have half of the
//! machine's cores: with more threads, each of a signature's many short steps wakes a second thread that finds nothing to
//! do, which costs more than all that the actors do themselves.
//!
//! Where that is a single thread, a handler that holds it holds everything: heartbeats, signals, and the root that would
//! notice. [`watch`] therefore looks from a thread of its own.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime for a node, or for several in one process.
///
/// # Errors
/// When the operating system gives no threads.
pub fn build() -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread().worker_threads(actor_threads(cores)).enable_all().build()
}

/// How many threads the actors have.
fn actor_threads(cores: usize) -> usize {
    (cores / 2).max(1)
}

/// Looks every `limit` whether `runtime` still gets to new work, and calls `stuck` once when it has not for so long.
/// Ends when the runtime does, within `limit`.
///
/// # Errors
/// When the operating system gives no thread.
pub fn watch(runtime: Handle, limit: Duration, stuck: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let look = move || {
        loop {
            let (sender, answer) = sync_channel(1);
            // Of a runtime that is gone, nothing runs any more and the sender is dropped. Nobody waits for what comes late.
            runtime.spawn(async move { _ = sender.send(()) });
            match answer.recv_timeout(limit) {
                Ok(()) => thread::sleep(limit),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => return stuck(),
            }
        }
    };
    thread::Builder::new().name("watch".to_owned()).spawn(look).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn actors__should_have_half_of_the_cores_and_at_least_one() {
        assert_eq!([1, 2, 3, 4, 16].map(actor_threads), [1, 1, 1, 2, 8]);
        assert!(build().is_ok());
    }

    #[test]
    fn watch__should_notice_when_no_thread_is_left() {
        let runtime = runtime();
        let (stuck, is_stuck) = mpsc::channel();
        watch(runtime.handle().clone(), LIMIT, move || stuck.send(()).unwrap()).unwrap();
        let (release, released) = mpsc::channel::<()>();
        runtime.spawn(async move { _ = released.recv() });
        is_stuck.recv_timeout(PATIENCE).unwrap();
        drop(release);
    }

    #[test]
    fn watch__should_end_with_a_runtime_that_was_never_stuck() {
        let runtime = runtime();
        let (stuck, is_stuck) = mpsc::channel::<()>();
        watch(runtime.handle().clone(), LIMIT, move || stuck.send(()).unwrap()).unwrap();
        // It waits as long as it likes, and holds no thread.
        runtime.block_on(async { tokio::time::sleep(LIMIT * 3).await });
        drop(runtime);
        // The watch drops what it would have told.
        assert_eq!(is_stuck.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}
