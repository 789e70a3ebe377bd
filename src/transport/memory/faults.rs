//! What goes wrong on the way, decided by a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;

use super::{MemoryBroker, Subscriber};
use crate::transport::broker::SubscriptionFeed;

/// What happens to messages on the way, each chance between 0 and 1 and drawn once per message and subscriber.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The chance that a message is lost.
    pub loss: f64,
    /// The chance that it arrives twice.
    pub duplication: f64,
    /// The chance that one of its bits flips.
    pub corruption: f64,
    /// The chance that it is held back by up to [`late_by`](Self::late_by) more than its delay.
    pub reordering: f64,
    /// How late a reordered message may be.
    pub late_by: Duration,
    /// The shortest delay.
    pub min_delay: Duration,
    /// The longest delay. Delays are drawn evenly, so they reorder by themselves.
    pub max_delay: Duration,
}

impl Conditions {
    /// Everything arrives at once, unaltered.
    pub const PERFECT: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        corruption: 0.0,
        reordering: 0.0,
        late_by: Duration::ZERO,
        min_delay: Duration::ZERO,
        max_delay: Duration::ZERO,
    };
}

/// A message as the broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tapped {
    /// The connection that published it.
    pub from: String,
    /// Where to.
    pub subject: String,
    /// The connection that should get it.
    pub to: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

type Filter = Box<dyn FnMut(&Tapped) -> bool + Send>;

/// The state of the network between the connections of one hub.
pub(super) struct Network {
    random: StdRng,
    conditions: Conditions,
    /// Cut directions: from, to.
    cuts: BTreeSet<(String, String)>,
    /// Directions in which everything arrives at once, unaltered.
    spared: BTreeSet<(String, String)>,
    taps: Vec<mpsc::UnboundedSender<Tapped>>,
    filter: Option<Filter>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            random: StdRng::seed_from_u64(0),
            conditions: Conditions::PERFECT,
            cuts: BTreeSet::new(),
            spared: BTreeSet::new(),
            taps: Vec::new(),
            filter: None,
        }
    }
}

impl Network {
    pub(super) fn carry(&mut self, from: &str, subject: &str, to: &str, feed: &SubscriptionFeed, payload: Vec<u8>) {
        let mut message = Tapped { from: from.to_owned(), subject: subject.to_owned(), to: to.to_owned(), payload };
        self.taps.retain(|tap| tap.send(message.clone()).is_ok());
        if !self.spared.is_empty() && self.spared.contains(&(from.to_owned(), to.to_owned())) {
            feed.push(message.payload);
            return;
        }
        let cut = !self.cuts.is_empty() && self.cuts.contains(&(from.to_owned(), to.to_owned()));
        let filtered = self.filter.as_mut().is_some_and(|keeps| !keeps(&message));
        if cut || filtered || self.chance(self.conditions.loss) {
            return;
        }
        if self.chance(self.conditions.corruption) && !message.payload.is_empty() {
            let at = self.random.random_range(0..message.payload.len());
            if let Some(byte) = message.payload.get_mut(at) {
                *byte ^= 1 << self.random.random_range(0..8);
            }
        }
        if self.chance(self.conditions.duplication) {
            self.deliver(feed, message.payload.clone());
        }
        self.deliver(feed, message.payload);
    }

    fn deliver(&mut self, feed: &SubscriptionFeed, payload: Vec<u8>) {
        let Conditions { reordering, late_by, min_delay, max_delay, .. } = self.conditions;
        let mut delay = self.between(min_delay, max_delay);
        if self.chance(reordering) {
            delay += self.between(Duration::ZERO, late_by);
        }
        if delay.is_zero() {
            feed.push(payload);
        } else {
            let feed = feed.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                feed.push(payload);
            });
        }
    }

    /// Draws only where the outcome is open, so that switching one fault on does not change what others decide.
    fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.random.random_bool(chance.min(1.0))
    }

    fn between(&mut self, min: Duration, max: Duration) -> Duration {
        if min >= max { min } else { self.random.random_range(min..=max) }
    }
}

/// Breaks and mends the network of a [`MemoryBroker`] while it runs.
#[derive(Clone)]
pub struct Faults(MemoryBroker);

impl MemoryBroker {
    /// The hub's faults, from now on decided by `seed`.
    #[must_use]
    pub fn faults(&self, seed: u64) -> Faults {
        self.lock().network.random = StdRng::seed_from_u64(seed);
        Faults(self.clone())
    }
}

impl Faults {
    /// From now on, messages meet these conditions.
    pub fn set(&self, conditions: Conditions) {
        self.0.lock().network.conditions = conditions;
    }

    /// From now on, nothing that `from` publishes reaches `to`. Neither notices.
    pub fn cut(&self, from: &str, to: &str) {
        self.0.lock().network.cuts.insert((from.to_owned(), to.to_owned()));
    }

    /// Ends one cut.
    pub fn mend(&self, from: &str, to: &str) {
        self.0.lock().network.cuts.remove(&(from.to_owned(), to.to_owned()));
    }

    /// From now on, nothing goes wrong between these two, whatever the conditions are.
    pub fn spare(&self, a: &str, b: &str) {
        let spared = &mut self.0.lock().network.spared;
        spared.insert((a.to_owned(), b.to_owned()));
        spared.insert((b.to_owned(), a.to_owned()));
    }

    /// From now on, neither hears the other.
    pub fn partition(&self, a: &str, b: &str) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Ends all cuts and partitions.
    pub fn heal(&self) {
        self.0.lock().network.cuts.clear();
    }

    /// As [`MemoryBroker::disconnect`].
    pub fn disconnect(&self, name: &str) {
        self.0.disconnect(name);
    }

    /// As [`MemoryBroker::reconnect`].
    pub fn reconnect(&self, name: &str) {
        self.0.reconnect(name);
    }

    /// Sees everything that is published from now on, before any fault meets it.
    #[must_use]
    pub fn tap(&self) -> mpsc::UnboundedReceiver<Tapped> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().network.taps.push(sender);
        receiver
    }

    /// From now on, only messages that `keeps` says yes to are carried.
    pub fn filter(&self, keeps: impl FnMut(&Tapped) -> bool + Send + 'static) {
        self.0.lock().network.filter = Some(Box::new(keeps));
    }

    /// Carries everything again.
    pub fn unfilter(&self) {
        self.0.lock().network.filter = None;
    }

    /// Delivers bytes to whoever subscribes to `subject`, at once and past all faults. Gives the number of receivers.
    pub fn inject(&self, subject: &str, payload: &[u8]) -> usize {
        let subscribers: Vec<Subscriber> = self.0.lock().subscribers_of(subject);
        subscribers.iter().for_each(|subscriber| subscriber.feed.push(payload.to_vec()));
        subscribers.len()
    }
}
