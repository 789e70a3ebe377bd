//! What the transport needs of a message broker, and nothing more.
//!
//! The broker is trusted with liveness only: it may drop, delay, duplicate, reorder, read, forge and replay. An adapter
//! promises two things: it never blocks a caller, and it bounds what it buffers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::error::Code;

/// A future that a trait object can return.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How many messages a subscription holds before it drops: each takes at most the bytes of one frame.
const QUEUED_MESSAGES: usize = 4096;
/// How many bytes a subscription holds before it drops.
const QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// One node's connection to a broker.
pub trait Broker: Send + Sync {
    /// Asks for every message that is published to `subject` from now on. The subscription survives losses of the
    /// connection: it misses what is published meanwhile.
    ///
    /// The future resolves when the broker knows of the subscription; without a connection, at once: then it is made when
    /// the connection is.
    fn subscribe(&self, subject: &str) -> BoxFuture<Result<Subscription, SubscribeError>>;

    /// Hands a message over. Messages leave in the order of the calls; the future tells what became of this one and
    /// may be dropped or polled later without changing that.
    ///
    /// It resolves to [`PublishError::NoResponders`] when nobody subscribes to the subject, and to `Ok` as soon as the
    /// broker has taken the message otherwise, which says nothing about anybody having received it.
    fn publish(&self, subject: &str, payload: Vec<u8>) -> BoxFuture<Result<(), PublishError>>;

    /// Follows the state of the connection.
    fn connection(&self) -> watch::Receiver<Connection>;
}

/// The state of a connection to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Whether it is there now.
    pub connected: bool,
    /// How often it has been lost so far: a watcher that slept through a short loss sees that there was one.
    pub losses: u64,
    /// Whether the broker lets this node use the subjects that it needs. Brokers tell of a refusal late and to nobody in
    /// particular, so that it shows here, and not in what was refused. It lasts until the connection is made anew.
    pub permitted: bool,
}

impl Connection {
    /// A connection that is there, was never lost, and may do everything.
    pub const UP: Self = Self { connected: true, losses: 0, permitted: true };
    /// One that is not there.
    pub const DOWN: Self = Self { connected: false, ..Self::UP };
}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nobody subscribes to the subject.
    #[error("failed to publish: nobody listens")]
    NoResponders,
    /// There is no connection to the broker.
    #[error("failed to publish: the broker is not connected")]
    Disconnected,
    /// The broker refused the message: too large, not permitted, or one more than it takes at a time.
    #[error("failed to publish: the broker refused the message")]
    Refused,
}

impl PublishError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::NoResponders | Self::Disconnected => Code::PeerUnavailable,
            Self::Refused => Code::Internal,
        }
    }
}

/// Why a subscription was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to subscribe: the broker refused or cannot be reached")]
pub struct SubscribeError;

impl SubscribeError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::PeerUnavailable
    }
}

/// The receiving end of a subscription. Dropping it unsubscribes.
pub struct Subscription {
    messages: mpsc::Receiver<Queued>,
    dropped: Arc<AtomicU64>,
}

/// The end of a subscription that a broker adapter feeds. It never waits: what does not fit is dropped and counted.
#[derive(Clone)]
pub struct SubscriptionFeed {
    messages: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

/// A message, and the room that it takes until it is read.
struct Queued {
    payload: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Subscription {
    /// A subscription and the end that feeds it.
    #[must_use]
    pub fn channel() -> (SubscriptionFeed, Self) {
        let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
        let dropped = Arc::new(AtomicU64::new(0));
        let room = Arc::new(Semaphore::new(QUEUED_BYTES));
        let feed = SubscriptionFeed { messages: sender, room, dropped: Arc::clone(&dropped) };
        (feed, Self { messages: receiver, dropped })
    }

    /// The next message, or nothing once the broker has given the subscription up. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.messages.recv().await.map(|queued| queued.payload)
    }

    /// How many messages were dropped because this end was slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl SubscriptionFeed {
    /// Queues a message, or drops it if the queue is full.
    pub fn push(&self, payload: Vec<u8>) {
        let size = u32::try_from(payload.len().max(1)).unwrap_or(u32::MAX);
        let queued = Arc::clone(&self.room)
            .try_acquire_many_owned(size)
            .is_ok_and(|room| self.messages.try_send(Queued { payload, _room: room }).is_ok());
        if !queued {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Waits until the other end is gone.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn subscription__should_drop_and_count_what_does_not_fit() {
        let (feed, mut subscription) = Subscription::channel();
        for _ in 0..QUEUED_MESSAGES + 3 {
            feed.push(vec![1]);
        }
        assert_eq!(subscription.dropped(), 3);
        assert_eq!(subscription.next().await, Some(vec![1]));
        feed.push(vec![2]);
        assert_eq!(subscription.dropped(), 3, "reading makes room");
    }

    #[tokio::test]
    async fn subscription__should_bound_its_bytes() {
        let (feed, mut subscription) = Subscription::channel();
        feed.push(vec![0; QUEUED_BYTES]);
        feed.push(vec![0; 1]);
        assert_eq!(subscription.dropped(), 1);
        assert_eq!(subscription.next().await.map(|payload| payload.len()), Some(QUEUED_BYTES));
        feed.push(vec![0; 1]);
        assert_eq!(subscription.dropped(), 1);
    }
}
