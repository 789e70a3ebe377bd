//! A rotation by the storage actor: between groups of writes, one step at a time.
//!
//! ```text
//!  groups    ─▓▓▓──────▓▓▓──────▓▓▓▓─────────▓▓─
//!  rotation  ─────begin─────step─────step end─── then, beside the groups: what the former key sealed leaves the files
//! ```

use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::OwnedSemaphorePermit;

use super::actor::{OpenStore, answer};
use super::rotation::Rotating;
use super::writer::Notice;
use super::{Faults, KeySource, Reply, StorageError, StorageMsg};

/// A rotation that somebody waits for. Dropped before its end, it can be gone on with.
pub(super) struct Resealing {
    /// What unlocks the store, until the rotation has begun.
    source: Option<KeySource>,
    rotating: Rotating,
    reply: Reply<u64>,
    /// Whether the next step comes before the next group: they take turns.
    pub is_next: bool,
    /// It keeps the lock from being changed, and reads the store.
    permits: [OwnedSemaphorePermit; 2],
}

/// What came of one step.
pub(super) struct Stepped {
    /// What is left to do.
    pub rest: Option<Resealing>,
    /// What ended it so that nobody knows what the disk holds.
    pub failure: Option<StorageError>,
}

impl Resealing {
    pub(super) fn new(source: KeySource, reply: Reply<u64>, permits: [OwnedSemaphorePermit; 2]) -> Self {
        Self { source: Some(source), rotating: Rotating::default(), reply, is_next: true, permits }
    }

    /// Takes a step on the blocking pool, where nothing else is written meanwhile.
    pub(super) fn step(mut self, open: Arc<OpenStore>, faults: &Faults, actor: ActorRef<StorageMsg>) -> Stepped {
        let _notice = Notice::new(actor);
        let stepped = match self.source.take() {
            Some(source) => open.store.begin_rotation(&source).map(|()| true),
            None => open.store.rotate_some(&mut self.rotating),
        };
        match stepped {
            Ok(true) => {
                self.is_next = false;
                Stepped { rest: Some(self), failure: None }
            }
            Ok(false) => {
                let ended = open.store.end_rotation();
                faults.synced(open.store.folder());
                match ended {
                    Ok(()) => {
                        self.clear(open);
                        Stepped { rest: None, failure: None }
                    }
                    Err(error) => self.fail(error),
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// Beside the writer: it takes as long as writing the whole store.
    fn clear(self, open: Arc<OpenStore>) {
        drop(tokio::task::spawn_blocking(move || {
            let Self { rotating, reply, permits, .. } = self;
            let cleared = open.store.clear_former_key();
            // In this order: who holds all permits, relies on no reader holding the store.
            drop(open);
            drop(permits);
            let cleared = cleared.map_err(|error| StorageError::LockRemains { problem: error.to_string().into() });
            answer(reply, cleared.map(|()| rotating.resealed));
        }));
    }

    fn fail(self, error: StorageError) -> Stepped {
        let failure = matches!(error, StorageError::Write { .. }).then(|| error.clone());
        let Self { reply, permits, .. } = self;
        // In this order: whoever has the answer can try again.
        drop(permits);
        answer(reply, Err(error));
        Stepped { rest: None, failure }
    }
}
