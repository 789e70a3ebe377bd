//! Messages that came before their session: a bounded place to wait. Pure, with time as a value.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::{NodeId, SheetHash};
use crate::transport::Credit;
use crate::wire::message::SessionBody;

/// How long a message waits for its session to be announced.
pub(super) const EARLY_FOR: Duration = Duration::from_secs(5);
/// The most messages of one peer that wait for sessions which are not announced: as many as there may be requests at a
/// time by default. Their bytes are bounded by the link's budget, which they hold.
pub(super) const MAX_UNANNOUNCED_PER_PEER: usize = 256;
/// The most messages of one peer that wait for one session: one for each round of the longest protocol.
const MAX_PER_SESSION_AND_PEER: usize = 8;

/// A message that waits.
pub(super) struct Waiting {
    pub from: NodeId,
    pub body: SessionBody,
    pub credit: Credit,
    since: Instant,
    /// It counts towards its sender's limit.
    counted: bool,
}

/// Everything that waits.
#[derive(Default)]
pub(super) struct EarlyMessages {
    by_session: BTreeMap<SheetHash, Vec<Waiting>>,
    unannounced: BTreeMap<NodeId, usize>,
    /// When something came for a session, oldest first.
    arrivals: VecDeque<(Instant, SheetHash)>,
}

impl EarlyMessages {
    /// Keeps a message, if there is room. `announced` says that a proposal of its session is at hand: then other
    /// sessions do not crowd it out.
    pub fn put(
        &mut self,
        session: SheetHash,
        from: NodeId,
        body: SessionBody,
        credit: Credit,
        announced: bool,
        now: Instant,
    ) -> bool {
        let of_peer = self.unannounced.get(&from).copied().unwrap_or(0);
        if !announced && of_peer >= MAX_UNANNOUNCED_PER_PEER {
            return false;
        }
        let waiting = self.by_session.entry(session).or_default();
        if waiting.iter().filter(|message| message.from == from).count() >= MAX_PER_SESSION_AND_PEER {
            return false;
        }
        waiting.push(Waiting { from, body, credit, since: now, counted: !announced });
        if !announced {
            self.unannounced.insert(from, of_peer + 1);
        }
        self.arrivals.push_back((now, session));
        true
    }

    /// All that waits for a session, in the order in which it came.
    pub fn take(&mut self, session: SheetHash) -> Vec<Waiting> {
        let taken = self.by_session.remove(&session).unwrap_or_default();
        taken.iter().for_each(|message| self.discount(message));
        taken
    }

    /// Drops what has waited too long, except for sessions that are about to start, whose turn comes again. Says how much it
    /// was.
    pub fn expire(&mut self, now: Instant, is_starting: impl Fn(SheetHash) -> bool) -> u64 {
        let mut dropped = 0;
        while let Some(&(since, session)) = self.arrivals.front()
            && now.duration_since(since) > EARLY_FOR
        {
            self.arrivals.pop_front();
            if is_starting(session) {
                self.arrivals.push_back((now, session));
                continue;
            }
            let (late, fresh): (Vec<_>, Vec<_>) =
                self.take(session).into_iter().partition(|message| message.since <= since);
            dropped += u64::try_from(late.len()).unwrap_or(u64::MAX);
            if !fresh.is_empty() {
                fresh.iter().filter(|message| message.counted).for_each(|message| {
                    *self.unannounced.entry(message.from).or_default() += 1;
                });
                self.by_session.insert(session, fresh);
            }
        }
        dropped
    }

    fn discount(&mut self, message: &Waiting) {
        if message.counted
            && let Some(count) = self.unannounced.get_mut(&message.from)
        {
            *count -= 1;
            if *count == 0 {
                self.unannounced.remove(&message.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::error::Code;

    const SECOND: Duration = Duration::from_secs(1);

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn session(number: usize) -> SheetHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        SheetHash(hash)
    }

    fn put(early: &mut EarlyMessages, of: usize, from: u128, announced: bool, now: Instant) -> bool {
        let body = SessionBody::Abort { code: Code::Cancelled, culprits: Vec::new(), round: 1 };
        early.put(session(of), node(from), body, Credit::none(), announced, now)
    }

    #[tokio::test]
    async fn early_messages__should_be_bounded_per_peer_and_not_crowd_out_what_is_announced() {
        let (mut early, now) = (EarlyMessages::default(), Instant::now());
        for number in 0..MAX_UNANNOUNCED_PER_PEER {
            assert!(put(&mut early, number, 1, false, now));
        }
        assert!(!put(&mut early, 9999, 1, false, now), "the peer's room is used up");
        assert!(put(&mut early, 9999, 2, false, now), "another's is not");
        assert!(put(&mut early, 9999, 1, true, now), "an announced session has room of its own");
        assert_eq!(early.take(session(0)).len(), 1);
        assert!(put(&mut early, 5000, 1, false, now), "taking makes room");
        for _ in 0..MAX_PER_SESSION_AND_PEER {
            assert!(put(&mut early, 7000, 3, true, now));
        }
        assert!(!put(&mut early, 7000, 3, true, now), "no protocol has so many rounds");
        assert_eq!(early.take(session(9999)).len(), 2);
    }

    #[tokio::test]
    async fn early_messages__should_expire_unless_their_session_is_about_to_start() {
        let (mut early, start) = (EarlyMessages::default(), Instant::now());
        for (of, at) in [(1, 0), (2, 0), (1, 3)] {
            assert!(put(&mut early, of, 1, false, start + at * SECOND));
        }
        assert_eq!(early.expire(start + 5 * SECOND, |_| false), 0);
        assert_eq!(early.expire(start + 6 * SECOND, |starting| starting == session(2)), 1);
        assert_eq!(early.take(session(1)).len(), 1, "the later one is still there");
        assert_eq!(early.expire(start + 12 * SECOND, |_| false), 1, "the session that was about to start never did");
        assert!(early.take(session(2)).is_empty());
        assert!(early.unannounced.is_empty() && early.by_session.is_empty());
    }
}
