//! The broker adapter for NATS.
//!
//! ```text
//!   publish #5 ─▶ ┐                        ┌─ nobody listens: 503 to <inbox>.5 ─▶ #5 is NoResponders
//!   publish #6 ─▶ ├─ one connection ─▶ server
//!   mark    #7 ─▶ ┘                        └─ <inbox>.7 comes back ─────────────▶ all up to #7 are Ok
//! ```
//!
//! Every message carries a reply subject below the connection's own inbox, so that the server tells at once when nobody
//! listens. It says nothing when somebody does; so after messages a *mark* follows, to the own inbox: the server works
//! through what one connection sends in order, and when the mark is back it has come past everything before. There is
//! one mark at a time, for all messages since the last. Nobody waits for it but the futures that `publish` returned.
//!
//! Whoever else may subscribe to a node's subject, such as somebody who listens to everything, hides from the server that
//! the node is gone. Then the heartbeats of the link notice it.
//!
//! A member that reads its inbox sees the reply subject and could forge what comes to it. That makes a link look better
//! or worse than it is, which is what a broker can do anyway.

mod unconfirmed;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::nats;
use crate::transport::broker::{
    BoxFuture, Broker, Connection, PublishError, SubscribeError, Subscription, SubscriptionFeed,
};
use unconfirmed::{Outcome, Unconfirmed};

/// How long a mark may take to come back before another one follows.
const MARK_LIMIT: Duration = Duration::from_secs(1);
/// How long the server may take to know of a subscription.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a mark that could not be sent.
const PAUSE: Duration = Duration::from_millis(10);

/// A node's links over a NATS connection.
pub struct NatsBroker {
    line: Arc<Line>,
    _tasks: JoinSet<()>,
}

/// The outgoing end.
struct Line {
    connection: nats::Connection,
    status: watch::Receiver<nats::Status>,
    /// What the subjects of answers begin with.
    inbox: String,
    unconfirmed: Mutex<Unconfirmed>,
    published: Notify,
    state: watch::Sender<Connection>,
}

impl NatsBroker {
    /// A broker over `connection`, which others may use too.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn new(connection: nats::Connection) -> Result<Self, SubscribeError> {
        let inbox = connection.client().new_inbox();
        let everything = format!("{inbox}.*");
        connection.claim(&everything);
        let answers = connection.client().subscribe(everything).await.map_err(|_| SubscribeError)?;
        let status = connection.status();
        let state = watch::Sender::new(state_of(&status.borrow()));
        let line = Arc::new(Line {
            connection,
            status,
            inbox,
            unconfirmed: Mutex::default(),
            published: Notify::new(),
            state,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(read_answers(Arc::clone(&line), answers));
        tasks.spawn(follow_status(Arc::clone(&line)));
        tasks.spawn(send_marks(Arc::clone(&line)));
        Ok(Self { line, _tasks: tasks })
    }
}

impl Broker for NatsBroker {
    fn subscribe(&self, subject: &str) -> BoxFuture<Result<Subscription, SubscribeError>> {
        let (line, subject) = (Arc::clone(&self.line), subject.to_owned());
        Box::pin(async move {
            line.connection.claim(&subject);
            let subscribe = line.connection.client().subscribe(subject);
            let subscriber = tokio::time::timeout(SUBSCRIBE_LIMIT, subscribe).await;
            let subscriber = subscriber.map_err(|_| SubscribeError)?.map_err(|_| SubscribeError)?;
            let (feed, subscription) = Subscription::channel();
            tokio::spawn(forward(subscriber, feed));
            match line.mark() {
                // What is asked for without a connection, or loses it, is asked for when the connection is back.
                Err(PublishError::Disconnected) => Ok(subscription),
                Err(_) => Err(SubscribeError),
                Ok(back) => match tokio::time::timeout(SUBSCRIBE_LIMIT, back).await {
                    Ok(_) => Ok(subscription),
                    Err(_) => Err(SubscribeError),
                },
            }
        })
    }

    fn publish(&self, subject: &str, payload: Vec<u8>) -> BoxFuture<Result<(), PublishError>> {
        self.line.connection.claim(subject);
        match self.line.send(Some(subject), payload) {
            Ok(outcome) => {
                self.line.published.notify_one();
                Box::pin(async move { outcome.await.unwrap_or(Err(PublishError::Disconnected)) })
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.line.state.subscribe()
    }
}

impl Line {
    fn unconfirmed(&self) -> MutexGuard<'_, Unconfirmed> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a mark.
    fn mark(&self) -> Result<Outcome, PublishError> {
        self.send(None, Vec::new())
    }

    /// Hands a message to the connection's task, or a mark where no subject is given, and never waits for it.
    fn send(&self, subject: Option<&str>, payload: Vec<u8>) -> Result<Outcome, PublishError> {
        // Held until the message is handed over: numbers are in the order in which the server sees them.
        let mut unconfirmed = self.unconfirmed();
        if !self.status.borrow().connected {
            return Err(PublishError::Disconnected);
        }
        let bytes = payload.len();
        let number = unconfirmed.room_for(bytes).ok_or(PublishError::Refused)?;
        let (client, own) = (self.connection.client(), format!("{}.{number}", self.inbox));
        // The future waits only where the task's queue is full. Then the server is stuck, and so is whoever asks.
        let handed_over = match subject {
            Some(subject) => {
                let publish = client.publish_with_reply(subject.to_owned(), own, payload.into());
                tokio::task::unconstrained(publish).now_or_never()
            }
            None => tokio::task::unconstrained(client.publish(own, payload.into())).now_or_never(),
        };
        match handed_over {
            Some(Ok(())) => Ok(unconfirmed.push(bytes)),
            Some(Err(_)) | None => Err(PublishError::Refused),
        }
    }

    /// Takes what came to the own inbox.
    fn answer(&self, message: &Message) {
        let number = message.subject.as_str().strip_prefix(self.inbox.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { return };
        match message.status {
            Some(StatusCode::NO_RESPONDERS) => self.unconfirmed().unheard(number),
            Some(_) => {}
            None => self.unconfirmed().reached(number),
        }
    }
}

async fn read_answers(line: Arc<Line>, mut answers: Subscriber) {
    while let Some(message) = answers.next().await {
        line.answer(&message);
    }
}

/// Sends marks while anything is unconfirmed, one at a time.
async fn send_marks(line: Arc<Line>) {
    loop {
        line.published.notified().await;
        while !line.unconfirmed().is_empty() {
            match line.mark() {
                // One that does not come back in time may be lost: the next one counts for both.
                Ok(back) => drop(tokio::time::timeout(MARK_LIMIT, back).await),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Passes the state of the connection on. A loss settles what is unconfirmed.
async fn follow_status(line: Arc<Line>) {
    let mut status = line.status.clone();
    while status.changed().await.is_ok() {
        let next = state_of(&status.borrow_and_update());
        let last = *line.state.borrow();
        if last == next {
            continue;
        }
        if !next.connected || last.losses != next.losses {
            line.unconfirmed().lost();
        }
        line.state.send_replace(next);
    }
}

fn state_of(status: &nats::Status) -> Connection {
    Connection { connected: status.connected, losses: status.losses, permitted: !status.denied }
}

/// Moves messages into a subscription until its other end is gone; then the server hears of it.
async fn forward(mut subscriber: Subscriber, feed: SubscriptionFeed) {
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = feed.closed() => None,
        };
        match message {
            Some(message) => feed.push(message.payload.into()),
            None => break,
        }
    }
    // Without a connection, or with one that ends, there is nothing to unsubscribe from.
    let _ = subscriber.unsubscribe().await;
}
