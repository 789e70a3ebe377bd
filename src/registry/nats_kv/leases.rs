//! Which leases hold, by what was seen of them: entries and times in, changes out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::NodeId;
use crate::registry::LeaseEvent;

/// The leases of known nodes. A lease holds for its time to live after the last time it was seen to be renewed.
pub(super) struct Leases {
    ttl: Duration,
    members: BTreeSet<NodeId>,
    held: BTreeMap<NodeId, Instant>,
}

impl Leases {
    /// No leases yet; only `members` can have some.
    pub(super) fn new(ttl: Duration, members: BTreeSet<NodeId>) -> Self {
        Self { ttl, members, held: BTreeMap::new() }
    }

    /// Something was written under `key`: the lease, or, where `renewed` is false, the end of it. Keys that are not
    /// exactly a member's id mean nothing.
    pub(super) fn see(&mut self, key: &str, renewed: bool, now: Instant) -> Option<LeaseEvent> {
        let node: NodeId = key.parse().ok()?;
        // A UUID can be written in several ways, of which nodes use one.
        if !self.members.contains(&node) || node.to_string() != key {
            return None;
        }
        if renewed {
            self.held.insert(node, now + self.ttl).is_none().then_some(LeaseEvent::Alive(node))
        } else {
            self.held.remove(&node).map(|_| LeaseEvent::Gone(node))
        }
    }

    /// Ends the leases that ran out.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<LeaseEvent> {
        let gone = self.held.extract_if(.., |_, expiry| *expiry <= now);
        gone.map(|(node, _)| LeaseEvent::Gone(node)).collect()
    }

    /// When the next lease runs out.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.held.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const TTL: Duration = Duration::from_secs(6);

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    #[tokio::test(start_paused = true)]
    async fn leases__should_hold_from_what_was_seen_last() {
        let (mut leases, start) = (Leases::new(TTL, [node(1), node(2)].into()), Instant::now());
        let (a, b) = (node(1).to_string(), node(2).to_string());
        assert_eq!(leases.next_expiry(), None);
        assert_eq!(leases.see(&a, true, start), Some(LeaseEvent::Alive(node(1))));
        assert_eq!(leases.see(&b, true, start + TTL / 2), Some(LeaseEvent::Alive(node(2))));
        assert_eq!(leases.see(&a, true, start + TTL / 3), None, "a renewal is no news");
        assert_eq!(leases.next_expiry(), Some(start + TTL / 3 + TTL));
        assert_eq!(leases.expire(start + TTL), []);
        assert_eq!(leases.expire(start + TTL / 3 + TTL), [LeaseEvent::Gone(node(1))]);
        assert_eq!(leases.see(&a, false, start), None, "it is gone already");
        assert_eq!(leases.see(&b, false, start), Some(LeaseEvent::Gone(node(2))));
        assert_eq!(leases.next_expiry(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn leases__should_be_those_of_members_under_their_own_keys() {
        let (mut leases, now) = (Leases::new(TTL, [node(1)].into()), Instant::now());
        let id = Uuid::from_u128(1);
        let long = "x".repeat(100_000);
        let strange = [
            node(2).to_string(),
            id.simple().to_string(),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            String::new(),
            long,
        ];
        for key in strange {
            assert_eq!(leases.see(&key, true, now), None, "{key}");
        }
        assert_eq!(leases.next_expiry(), None);
    }
}
