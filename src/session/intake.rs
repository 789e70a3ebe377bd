//! How much work a coordinator actor takes on, and when it takes none any more. Pure.

use std::collections::BTreeMap;

use ractor::RpcReplyPort;

use crate::error::{Code, Failure};
use crate::ids::NodeId;

/// The most of a peer's proposals that are checked at a time, as a part of all of them: none can have the others refused.
const SHARE_OF_A_PEER: usize = 2;

/// What is being looked into and is not in any other table yet, and the limits of all work.
pub struct Intake {
    /// The most requests of clients at a time; twice as many sessions.
    limit: usize,
    preparing: usize,
    checking: BTreeMap<NodeId, usize>,
    draining: bool,
    drained: Option<RpcReplyPort<()>>,
}

impl Intake {
    /// Takes up to `limit` requests of this node's clients, and twice as many sessions, those of other coordinators
    /// included.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, preparing: 0, checking: BTreeMap::new(), draining: false, drained: None }
    }

    /// A client's request comes while `requests` of clients are at work. If it is taken, [`Intake::prepared`] must
    /// follow.
    ///
    /// # Errors
    /// What the client is told.
    pub fn request(&mut self, requests: usize) -> Result<(), Failure> {
        if self.draining {
            return Err(Failure::new(Code::Cancelled, "the node is stopping"));
        }
        if requests + self.preparing >= self.limit {
            return Err(Failure::new(Code::ConcurrencyLimit, "too many requests are at work"));
        }
        self.preparing += 1;
        Ok(())
    }

    /// A request that was taken has been looked into.
    pub fn prepared(&mut self) {
        self.preparing = self.preparing.saturating_sub(1);
    }

    /// A peer's proposal comes while there are `sessions`. If it is taken, [`Intake::checked`] must follow.
    ///
    /// # Errors
    /// The code to refuse with.
    pub fn proposal(&mut self, from: NodeId, sessions: usize) -> Result<(), Code> {
        let limit = self.limit * 2;
        let (all, of_peer) = (self.checking.values().sum::<usize>(), self.checking.entry(from).or_default());
        if self.draining || sessions + all >= limit || *of_peer >= limit / SHARE_OF_A_PEER {
            return Err(Code::ConcurrencyLimit);
        }
        *of_peer += 1;
        Ok(())
    }

    /// A proposal of `from` that was taken has been checked.
    pub fn checked(&mut self, from: NodeId) {
        if let Some(count) = self.checking.get_mut(&from) {
            *count -= 1;
        }
    }

    /// From now on nothing new is taken. The answer comes when nothing is at work any more.
    pub fn drain(&mut self, reply: RpcReplyPort<()>) {
        self.draining = true;
        self.drained = Some(reply);
    }

    /// Answers who waits for the end of all work, if `is_idle` says that nothing else is at work.
    pub fn settle(&mut self, is_idle: bool) {
        let is_looking = self.preparing > 0 || self.checking.values().any(|&count| count > 0);
        if is_idle
            && !is_looking
            && let Some(reply) = self.drained.take()
        {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    #[test]
    fn intake__should_keep_room_for_clients_and_for_every_peer() {
        let mut intake = Intake::new(2);
        for _ in 0..2 {
            intake.proposal(node(1), 0).unwrap();
        }
        assert_eq!(intake.proposal(node(1), 0), Err(Code::ConcurrencyLimit), "one peer has half of it");
        intake.proposal(node(2), 0).unwrap();
        assert_eq!(intake.proposal(node(3), 1), Err(Code::ConcurrencyLimit), "sessions count");
        intake.checked(node(1));
        intake.proposal(node(1), 0).unwrap();
        assert!(intake.request(1).is_ok());
        assert_eq!(intake.request(1).unwrap_err().code, Code::ConcurrencyLimit);
        intake.prepared();
        assert!(intake.request(1).is_ok());
    }

    #[tokio::test]
    async fn intake__should_take_nothing_once_it_drains_and_say_when_all_is_done() {
        let mut intake = Intake::new(2);
        intake.request(0).unwrap();
        intake.proposal(node(1), 0).unwrap();
        let (reply, drained) = ractor::concurrency::oneshot();
        intake.drain(reply.into());
        assert_eq!(intake.request(0).unwrap_err().code, Code::Cancelled);
        assert_eq!(intake.proposal(node(1), 0), Err(Code::ConcurrencyLimit));
        intake.settle(true);
        intake.prepared();
        intake.checked(node(1));
        intake.settle(false);
        assert!(intake.drained.is_some(), "it is not idle yet");
        intake.settle(true);
        drained.await.unwrap();
        assert_eq!(intake.request(0).unwrap_err().code, Code::Cancelled, "it stays that way");
    }
}
