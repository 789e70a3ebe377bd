//! A broker within the process: for the demo, and for tests that need a network they can break.
//!
//! ```text
//!   connect("a") ── publish ──▶ hub ──[ faults ]──▶ queue of each subscriber ──▶ connect("b")
//! ```
//!
//! Without faults a message is in its subscribers' queues when `publish` returns. With the `testing` feature a
//! `Faults` handle makes the hub lose, delay, duplicate, reorder and alter what it carries, cuts connections apart and
//! shows and injects raw messages, all of it decided by one seed.

#[cfg(any(test, feature = "testing"))]
mod faults;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::transport::broker::{
    BoxFuture, Broker, Connection, PublishError, SubscribeError, Subscription, SubscriptionFeed,
};

#[cfg(any(test, feature = "testing"))]
pub use faults::{Conditions, Faults, Tapped};

/// The hub. Clones are the same hub; each node connects under a name of its own.
#[derive(Clone, Default)]
pub struct MemoryBroker(Arc<Mutex<Hub>>);

#[derive(Default)]
struct Hub {
    connections: BTreeMap<String, watch::Sender<Connection>>,
    /// By subject.
    subscribers: BTreeMap<String, Vec<Subscriber>>,
    #[cfg(any(test, feature = "testing"))]
    network: faults::Network,
}

#[derive(Clone)]
struct Subscriber {
    connection: String,
    feed: SubscriptionFeed,
}

impl MemoryBroker {
    /// A hub that carries everything at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects under `name`. Connecting again under the same name is the same connection.
    #[must_use]
    pub fn connect(&self, name: &str) -> MemoryConnection {
        self.lock().connections.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(Connection::UP));
        MemoryConnection { hub: self.clone(), name: name.to_owned() }
    }

    /// The connection loses the broker, which knows it: publishers to its subjects hear that nobody listens. So does one
    /// whose process has died.
    pub fn disconnect(&self, name: &str) {
        if let Some(state) = self.lock().connections.get(name) {
            state.send_if_modified(|state| {
                let change = state.connected;
                *state = Connection { connected: false, losses: state.losses + u64::from(change), ..*state };
                change
            });
        }
    }

    /// The connection has the broker again, and its subscriptions with it.
    pub fn reconnect(&self, name: &str) {
        if let Some(state) = self.lock().connections.get(name) {
            state.send_modify(|state| state.connected = true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    fn is_connected(&self, name: &str) -> bool {
        self.connections.get(name).is_some_and(|state| state.borrow().connected)
    }

    /// Those who get what is published to `subject` now.
    fn subscribers_of(&mut self, subject: &str) -> Vec<Subscriber> {
        if let Some(subscribers) = self.subscribers.get_mut(subject) {
            subscribers.retain(|subscriber| !subscriber.feed.is_closed());
            if subscribers.is_empty() {
                self.subscribers.remove(subject);
            }
        }
        let all = self.subscribers.get(subject).into_iter().flatten();
        all.filter(|subscriber| self.is_connected(&subscriber.connection)).cloned().collect()
    }

    fn publish(&mut self, from: &str, subject: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        if !self.is_connected(from) {
            return Err(PublishError::Disconnected);
        }
        let mut subscribers = self.subscribers_of(subject);
        let last = subscribers.pop().ok_or(PublishError::NoResponders)?;
        for subscriber in subscribers {
            self.carry(from, subject, &subscriber, payload.clone());
        }
        self.carry(from, subject, &last, payload);
        Ok(())
    }

    #[cfg(any(test, feature = "testing"))]
    fn carry(&mut self, from: &str, subject: &str, to: &Subscriber, payload: Vec<u8>) {
        self.network.carry(from, subject, &to.connection, &to.feed, payload);
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn carry(&mut self, _from: &str, _subject: &str, to: &Subscriber, payload: Vec<u8>) {
        to.feed.push(payload);
    }
}

/// One node's connection to a [`MemoryBroker`].
pub struct MemoryConnection {
    hub: MemoryBroker,
    name: String,
}

impl Broker for MemoryConnection {
    fn subscribe(&self, subject: &str) -> BoxFuture<Result<Subscription, SubscribeError>> {
        let (feed, subscription) = Subscription::channel();
        let subscriber = Subscriber { connection: self.name.clone(), feed };
        self.hub.lock().subscribers.entry(subject.to_owned()).or_default().push(subscriber);
        Box::pin(ready(Ok(subscription)))
    }

    fn publish(&self, subject: &str, payload: Vec<u8>) -> BoxFuture<Result<(), PublishError>> {
        Box::pin(ready(self.hub.lock().publish(&self.name, subject, payload)))
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        let gone = || watch::Sender::new(Connection::DOWN).subscribe();
        self.hub.lock().connections.get(&self.name).map_or_else(gone, watch::Sender::subscribe)
    }
}
