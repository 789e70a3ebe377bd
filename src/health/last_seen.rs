//! When each peer was last there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::ids::NodeId;
use crate::registry::View;

/// When the link to each peer was last up, by this node's clock.
pub(super) struct LastSeen {
    clock: Clock,
    views: watch::Receiver<Arc<View>>,
    /// Of those that were linked when it was last looked: milliseconds since the Unix epoch.
    seen: Mutex<BTreeMap<NodeId, u64>>,
}

impl LastSeen {
    pub(super) fn new(clock: Clock, views: watch::Receiver<Arc<View>>) -> Self {
        Self { clock, views, seen: Mutex::default() }
    }

    /// Notes who goes, until the node ends.
    pub(super) async fn follow(&self) {
        let mut views = self.views.clone();
        let mut linked = Vec::new();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            self.note(linked);
            linked = linked_peers(&view).collect();
            self.note(linked.clone());
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    /// When each peer was last linked, for those that were since this began: now for those that are.
    pub(super) fn all(&self) -> BTreeMap<NodeId, u64> {
        self.note(linked_peers(&self.views.borrow()).collect());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, linked: Vec<NodeId>) {
        let now = self.clock.now_ms();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(linked.into_iter().map(|peer| (peer, now)));
    }
}

fn linked_peers(view: &View) -> impl Iterator<Item = NodeId> + '_ {
    view.peers.iter().filter(|(_, status)| status.linked).map(|(&peer, _)| peer)
}
