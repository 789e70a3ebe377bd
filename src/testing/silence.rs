//! Engines that are stopped.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::session::CryptoPool;

/// A pool computes nothing as long as this is there.
#[derive(Debug)]
pub struct Silence {
    _release: Vec<mpsc::Sender<()>>,
}

impl Silence {
    /// Takes all places of a pool of this width, waiting for those that are taken.
    pub async fn of(pool: &CryptoPool, width: usize) -> Self {
        let mut release = Vec::new();
        for _ in 0..width {
            let (sender, released) = mpsc::channel::<()>();
            let (taken, is_taken) = oneshot::channel();
            let pool = pool.clone();
            tokio::spawn(async move {
                let occupy = move || {
                    let _ = taken.send(());
                    // Ends with an error when the silence is dropped.
                    let _ = released.recv();
                };
                // The place is given back however the computation ends.
                let _ = pool.run(occupy).await;
            });
            // The task that would not answer is gone with the runtime.
            let _ = is_taken.await;
            release.push(sender);
        }
        Self { _release: release }
    }
}
