//! One stream of requests: pulled as far as there is room, while the node can do what they ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, PullConsumer, pull};
use async_nats::jetstream::message::AckKind;
use async_nats::jetstream::{self, Message};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::answer::answer;
use super::desk::Desk;
use super::relay::Relay;
use super::streams;
use crate::ids::Scheme;
use crate::nats::Connection;
use crate::registry::View;
use crate::wire::mpcium::{KEYGEN, MessageKey, RESULT_SUBJECTS, Requests, SIGNING};
use crate::wire::native::Health;

/// How long one pull waits for requests. A node that stops waits for the end of its last one.
const PULL: Duration = Duration::from_secs(1);
/// How long requests are left to wait for this node's peers, when it has just found the broker.
const SETTLING: Duration = Duration::from_secs(10);
/// The first pause after something failed; it doubles.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long what was published last may take to leave.
pub(super) const FLUSH: Duration = Duration::from_secs(2);
/// How often a request is delivered before it is answered with an error.
const MAX_DELIVERIES: u64 = 20;

/// Where streams are asked for, and requests acknowledged.
const JETSTREAM: &str = "$JS.>";
/// How many answered messages are remembered, by queue.
const MAX_ANSWERED: usize = 8192;
/// The shortest pause between two reports of progress.
const SHORTEST_PROGRESS: Duration = Duration::from_millis(100);

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queue {
    /// Requests for wallets.
    Keygen,
    /// Requests for signatures.
    Signing,
}

impl Queue {
    pub(super) const ALL: [Self; 2] = [Self::Keygen, Self::Signing];

    const fn requests(self) -> Requests {
        match self {
            Self::Keygen => KEYGEN,
            Self::Signing => SIGNING,
        }
    }

    /// Whether a node with this view can do what these requests ask for. `signers` must sign.
    fn can_serve(self, view: &View, signers: u8) -> bool {
        match self {
            Self::Keygen => view.health(signers) == Health::All,
            Self::Signing => {
                let ready = view.ready();
                let paired =
                    ready.iter().filter(|&&node| node == view.me || view.can_run(Scheme::Ecdsa, view.me, node));
                ready.contains(&view.me) && paired.count() >= usize::from(signers)
            }
        }
    }
}

/// What the consumer that all nodes share says. Whoever made it may have given it other settings than a node would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// How often the server hears that a request is still at work.
    pub progress: Duration,
    /// How often a request is delivered at most.
    pub max_deliveries: u64,
    /// How many requests may be pulled at a time.
    max_batch: usize,
}

impl Terms {
    fn of(config: &consumer::Config) -> Self {
        let positive = |limit: i64| u64::try_from(limit).ok().filter(|&limit| limit > 0);
        let ack_wait = if config.ack_wait.is_zero() { streams::ACK_WAIT } else { config.ack_wait };
        let max_batch = positive(config.max_batch).and_then(|limit| usize::try_from(limit).ok());
        Self {
            progress: (ack_wait / 3).max(SHORTEST_PROGRESS),
            max_deliveries: positive(config.max_deliver).map_or(MAX_DELIVERIES, |limit| limit.min(MAX_DELIVERIES)),
            max_batch: max_batch.unwrap_or(usize::MAX),
        }
    }
}

/// What has been done so far.
#[derive(Default)]
pub(super) struct Counters {
    pub taken: AtomicU64,
    pub answered: AtomicU64,
    pub given_back: AtomicU64,
}

/// The messages that were answered last: one that comes again needs no more than its acknowledgement.
#[derive(Default)]
pub(super) struct Answered {
    known: BTreeSet<MessageKey>,
    in_order: VecDeque<MessageKey>,
}

impl Answered {
    pub(super) fn contains(&self, message: &MessageKey) -> bool {
        self.known.contains(message)
    }

    pub(super) fn insert(&mut self, message: MessageKey) {
        if self.known.insert(message) {
            self.in_order.push_back(message);
        }
        if self.in_order.len() > MAX_ANSWERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// What all tasks of one life of the gateway share.
pub(super) struct Shared {
    pub desk: Desk,
    pub connection: Connection,
    pub context: jetstream::Context,
    /// The way to nodes that hold what this one does not.
    pub relay: Relay,
    pub counters: Counters,
    /// The requests at work here, by the hash of what they say, with their message.
    pub running: Mutex<BTreeMap<(Queue, [u8; 32]), MessageKey>>,
    /// The messages answered last, by queue.
    answered: [Mutex<Answered>; 2],
    /// Until when peers may still be finding each other.
    settling_until: Mutex<Instant>,
}

impl Shared {
    pub(super) fn new(desk: Desk, connection: Connection) -> Self {
        let context = jetstream::new(connection.client().clone());
        let relay = Relay::new(connection.client().clone());
        let settling_until = Mutex::new(Instant::now() + SETTLING);
        Self {
            desk,
            connection,
            context,
            relay,
            counters: Counters::default(),
            running: Mutex::default(),
            answered: Default::default(),
            settling_until,
        }
    }

    /// The messages of a queue that this life of the gateway has answered.
    pub(super) fn answered(&self, queue: Queue) -> MutexGuard<'_, Answered> {
        let [keygen, signing] = &self.answered;
        let answered = match queue {
            Queue::Keygen => keygen,
            Queue::Signing => signing,
        };
        answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker was found such a short time ago that the links of all nodes, also those between others, may not
    /// be up yet.
    pub(super) fn is_settling(&self) -> bool {
        Instant::now() < *self.settling_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a stream until `stop` turns true and what was taken is answered.
pub(super) async fn serve(shared: Arc<Shared>, queue: Queue, room: usize, mut stop: watch::Receiver<bool>) {
    for subjects in RESULT_SUBJECTS.into_iter().chain([JETSTREAM]) {
        shared.connection.claim(subjects);
    }
    let mut work = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    while !*stop.borrow() {
        match prepare(&shared, queue).await {
            Ok(consumer) => {
                settle(&shared, queue, &mut stop).await;
                if pull(&shared, queue, &consumer, room, &mut stop, &mut work).await {
                    pause = FIRST_PAUSE;
                }
            }
            Err(error) => tracing::warn!(%error, "clients cannot be served yet"),
        }
        if !*stop.borrow() {
            // A stop ends the pause; what is at work goes on beside it.
            let _ = tokio::time::timeout(pause, stop.changed()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    while let Some(done) = work.join_next().await {
        note(&done);
    }
    // The last acknowledgements have left before the process ends.
    shared.connection.flush(FLUSH).await;
}

/// A request whose task panicked is delivered again, and given up when that happens too often. The others go on.
pub(super) fn note(done: &Result<(), JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "a task for a client's request failed");
    }
}

async fn prepare(shared: &Shared, queue: Queue) -> Result<PullConsumer, streams::StreamError> {
    streams::results(&shared.context).await?;
    streams::requests(&shared.context, queue.requests()).await
}

/// Leaves requests to others, or to wait, while this node finds its peers: otherwise all that have gathered would be
/// answered with the news that nobody is there.
async fn settle(shared: &Shared, queue: Queue, stop: &mut watch::Receiver<bool>) {
    let mut views = shared.desk.views.clone();
    let signers = shared.desk.threshold.signers();
    *shared.settling_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + SETTLING;
    let can_serve = views.wait_for(|view| queue.can_serve(view, signers));
    tokio::select! {
        // However it ends: those who are not there by then are missing.
        _ = tokio::time::timeout(SETTLING, can_serve) => {}
        _ = stop.changed() => {}
    }
}

/// Pulls until told to stop, or until the server has to be asked for the consumer anew. Says whether it worked for a
/// while.
async fn pull(
    shared: &Arc<Shared>,
    queue: Queue,
    consumer: &PullConsumer,
    room: usize,
    stop: &mut watch::Receiver<bool>,
    work: &mut JoinSet<()>,
) -> bool {
    let terms = Terms::of(&consumer.cached_info().config);
    let mut status = shared.connection.status();
    let losses = status.borrow_and_update().losses;
    let mut worked = false;
    while !*stop.borrow() {
        while let Some(done) = work.try_join_next() {
            note(&done);
        }
        let free = room.saturating_sub(work.len()).min(terms.max_batch);
        if free == 0 {
            tokio::select! {
                Some(done) = work.join_next() => note(&done),
                _ = stop.changed() => {}
            }
            continue;
        }
        if !shared.desk.views.borrow().able {
            // Without links, every request would fail here: others shall have them.
            let mut views = shared.desk.views.clone();
            tokio::select! {
                _ = views.wait_for(|view| view.able) => {}
                Some(done) = work.join_next(), if !work.is_empty() => note(&done),
                _ = stop.changed() => {}
            }
            continue;
        }
        // No idle heartbeats: a batch of this library that gets one may sleep until it expires.
        let batch = consumer.batch().max_messages(free).expires(PULL).messages().await;
        let Ok(mut batch) = batch else { return worked };
        loop {
            tokio::select! {
                next = batch.next() => match next {
                    Some(Ok(message)) => {
                        shared.counters.taken.fetch_add(1, Ordering::Relaxed);
                        work.spawn(answer(Arc::clone(shared), queue, terms, message));
                    }
                    // It has expired, or is full.
                    None => break,
                    // The consumer is gone, or the server is.
                    Some(Err(error)) => {
                        tracing::warn!(%error, stream = queue.requests().stream, "lost the consumer of requests");
                        return worked;
                    }
                },
                Some(done) = work.join_next(), if !work.is_empty() => note(&done),
                // The server has forgotten what was pulled, even if it is there again.
                _ = status.changed() => if status.borrow_and_update().losses != losses { return worked },
                _ = stop.changed() => {
                    give_back_rest(shared, batch).await;
                    break;
                }
            }
        }
        worked = true;
    }
    worked
}

/// Gives back what still comes of a pull, so that other nodes need not wait until it is missed here.
async fn give_back_rest(shared: &Shared, mut batch: pull::Batch) {
    while let Some(Ok(message)) = batch.next().await {
        shared.counters.given_back.fetch_add(1, Ordering::Relaxed);
        give_back(&message).await;
    }
}

async fn give_back(message: &Message) {
    if let Err(error) = message.ack_with(AckKind::Nak(Some(FIRST_PAUSE))).await {
        // The server finds out by itself, only later.
        tracing::warn!(%error, "failed to give a request back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered__should_forget_the_oldest() {
        let message = |sequence| MessageKey { sequence, taken_at: 0 };
        let mut answered = Answered::default();
        (0..=MAX_ANSWERED as u64).for_each(|sequence| answered.insert(message(sequence)));
        answered.insert(message(5));
        assert!(!answered.contains(&message(0)));
        assert!((1..=MAX_ANSWERED as u64).all(|sequence| answered.contains(&message(sequence))));
        assert!(!answered.contains(&MessageKey { sequence: 5, taken_at: 1 }));
    }

    #[test]
    fn terms__should_be_those_of_the_consumer() {
        let ours = consumer::Config { ack_wait: Duration::from_secs(30), ..consumer::Config::default() };
        let expected =
            Terms { progress: Duration::from_secs(10), max_deliveries: MAX_DELIVERIES, max_batch: usize::MAX };
        assert_eq!(Terms::of(&ours), expected);
        assert_eq!(Terms::of(&consumer::Config { max_deliver: -1, ..consumer::Config::default() }), expected);
        let theirs = consumer::Config {
            ack_wait: Duration::from_secs(3),
            max_deliver: 3,
            max_batch: 7,
            ..consumer::Config::default()
        };
        let expected = Terms { progress: Duration::from_secs(1), max_deliveries: 3, max_batch: 7 };
        assert_eq!(Terms::of(&theirs), expected);
    }
}
