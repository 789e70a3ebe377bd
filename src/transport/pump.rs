//! From the inbox to the links: the one task that reads what anybody may have written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::broker::Subscription;
use super::credit::Budget;
use super::link::{Counters, Dropped, LinkMsg};
use crate::ids::NodeId;
use crate::supervision::Address;
use crate::wire::frame::Frame;

/// Where the frames of one peer go, whichever life its link is in.
pub(super) struct Route {
    pub(super) link: Address<LinkMsg>,
    pub(super) budget: Budget,
    pub(super) counters: Arc<Counters>,
}

/// All routes, and what leads nowhere.
pub(super) struct Routes {
    pub(super) peers: BTreeMap<NodeId, Route>,
    /// Messages that are no frames, or name a sender that is no peer.
    pub(super) strays: AtomicU64,
}

impl Routes {
    /// Moves messages to the links until the subscription ends. A message that there is no room for is dropped before it
    /// reaches a mailbox.
    pub(super) async fn pump(self: Arc<Self>, mut inbox: Subscription) {
        while let Some(bytes) = inbox.next().await {
            self.route(&bytes);
        }
    }

    fn route(&self, bytes: &[u8]) {
        let frame = Frame::decode(bytes).ok();
        let Some((frame, route)) = frame.and_then(|frame| self.peers.get(&frame.from).map(|route| (frame, route)))
        else {
            Counters::count(&self.strays);
            return;
        };
        let Some(credit) = route.budget.admit(bytes.len()) else {
            route.counters.dropped(Dropped::OverLimit);
            return;
        };
        if route.link.cast(LinkMsg::Frame(frame, credit)).is_err() {
            route.counters.dropped(Dropped::Stale);
        }
    }
}
