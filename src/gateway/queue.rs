//! One stream of requests: pulled as far as there is room, answered one by one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::{AckKind, Acker};
use async_nats::jetstream::{self, Message};
use async_nats::{HeaderMap, header};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::desk::Desk;
use super::streams;
use crate::error::{Code, Failure};
use crate::metrics::Kind;
use crate::nats::Connection;
use crate::wire::mpcium::{
    CLIENT_ID_HEADER, ClientId, EventError, KEYGEN, KeygenEvent, MAX_DELIVERY_ATTEMPTS, Requests, SIGNING, SigningEvent,
};
use crate::wire::request::{KeygenRequest, MAX_REQUEST_BYTES, RequestError, SignRequest};

/// How long one pull waits for requests.
const PULL: Duration = Duration::from_secs(5);
/// How often the server hears that a request is still at work.
const PROGRESS: Duration = Duration::from_secs(10);
/// How often a result is offered to the server before the request is given back.
const PUBLISH_ATTEMPTS: u32 = 3;
/// The first pause after something failed; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a request is delivered before it is answered with an error.
const MAX_DELIVERIES: u64 = 20;

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
}

/// What has been done so far.
#[derive(Default)]
pub(super) struct Counters {
    pub taken: AtomicU64,
    pub answered: AtomicU64,
    pub given_back: AtomicU64,
}

/// What all tasks of one life of the gateway share.
pub(super) struct Shared {
    pub desk: Desk,
    pub connection: Connection,
    pub context: jetstream::Context,
    pub counters: Counters,
    /// The requests at work here, with the sequence number of their message.
    running: Mutex<BTreeMap<(Queue, String), u64>>,
}

/// What becomes of a message.
enum Fate {
    /// This result, and the message is done.
    Answer { subject: String, id: String, body: Vec<u8> },
    /// It is delivered again after this time.
    GiveBack(Duration),
    /// Another task here is at work on the same message, and will answer it.
    Leave,
}

impl Shared {
    pub(super) fn new(desk: Desk, connection: Connection) -> Self {
        let context = jetstream::new(connection.client().clone());
        Self { desk, connection, context, counters: Counters::default(), running: Mutex::default() }
    }
}

/// Serves a stream until `stop` turns true and what was taken is answered.
///
/// # Errors
/// When a task panicked: the gateway is to be started anew.
pub(super) async fn serve(
    shared: Arc<Shared>,
    queue: Queue,
    room: usize,
    mut stop: watch::Receiver<bool>,
) -> Result<(), JoinError> {
    let mut work = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    while !*stop.borrow() {
        match prepare(&shared, queue).await {
            Ok(consumer) => {
                pause = FIRST_PAUSE;
                pull(&shared, queue, &consumer, room, &mut stop, &mut work).await?;
            }
            Err(error) => {
                tracing::warn!(%error, "clients cannot be served yet");
                // A stop ends the pause; what is at work goes on beside it.
                let _ = tokio::time::timeout(pause, stop.changed()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    while let Some(done) = work.join_next().await {
        done?;
    }
    Ok(())
}

async fn prepare(shared: &Shared, queue: Queue) -> Result<PullConsumer, streams::StreamError> {
    streams::results(&shared.context).await?;
    streams::requests(&shared.context, queue.requests()).await
}

/// Pulls until told to stop, or until the server has to be asked for the consumer anew.
async fn pull(
    shared: &Arc<Shared>,
    queue: Queue,
    consumer: &PullConsumer,
    room: usize,
    stop: &mut watch::Receiver<bool>,
    work: &mut JoinSet<()>,
) -> Result<(), JoinError> {
    let mut status = shared.connection.status();
    // What is known now is no news.
    status.mark_unchanged();
    while !*stop.borrow() {
        while let Some(done) = work.try_join_next() {
            done?;
        }
        let free = room.saturating_sub(work.len());
        if free == 0 {
            tokio::select! {
                Some(done) = work.join_next() => done?,
                _ = stop.changed() => {}
            }
            continue;
        }
        // No idle heartbeats: a batch of this library that gets one may sleep until it expires.
        let batch = consumer.batch().max_messages(free).expires(PULL).messages().await;
        let Ok(mut batch) = batch else { return Ok(()) };
        loop {
            tokio::select! {
                next = batch.next() => match next {
                    Some(Ok(message)) => {
                        shared.counters.taken.fetch_add(1, Ordering::Relaxed);
                        work.spawn(answer(Arc::clone(shared), queue, message));
                    }
                    // It has expired, or is full.
                    None => break,
                    // The consumer is gone, or the server is.
                    Some(Err(error)) => {
                        tracing::warn!(%error, stream = queue.requests().stream, "lost the consumer of requests");
                        return Ok(());
                    }
                },
                Some(done) = work.join_next(), if !work.is_empty() => done?,
                // The server has forgotten what was pulled.
                _ = status.changed() => if !status.borrow_and_update().connected { return Ok(()) },
                _ = stop.changed() => break,
            }
        }
    }
    Ok(())
}

/// Brings one message to its fate.
async fn answer(shared: Arc<Shared>, queue: Queue, message: Message) {
    let (sequence, delivered) = match message.info() {
        Ok(info) => (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(u64::MAX)),
        Err(error) => {
            tracing::error!(%error, "a message of a stream is none");
            return;
        }
    };
    let (message, acker) = message.split();
    let client = message.headers.as_ref().and_then(|headers| headers.get(CLIENT_ID_HEADER));
    let client = client.and_then(|text| match ClientId::try_from(text.as_str()) {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::warn!(%error, "a request's result goes to everybody");
            None
        }
    });
    let request = Request { client, sequence, delivered };
    let fate = match queue {
        Queue::Keygen => with_progress(&acker, keygen(&shared, &request, &message.payload)).await,
        Queue::Signing => with_progress(&acker, sign(&shared, &request, &message.payload)).await,
    };
    let kind = match fate {
        Fate::Answer { subject, id, body } => match publish(&shared.context, subject, &id, body).await {
            Ok(()) => {
                shared.counters.answered.fetch_add(1, Ordering::Relaxed);
                AckKind::Ack
            }
            Err(error) => {
                tracing::error!(id, %error, "failed to publish a result; its request is given back");
                AckKind::Nak(Some(FIRST_PAUSE * 10))
            }
        },
        Fate::GiveBack(pause) => {
            shared.counters.given_back.fetch_add(1, Ordering::Relaxed);
            AckKind::Nak(Some(pause))
        }
        Fate::Leave => return,
    };
    if let Err(error) = acker.ack_with(kind).await {
        // It is delivered again, and leads to the same result under the same id.
        tracing::warn!(%error, "failed to acknowledge a request");
    }
}

/// How a request came.
struct Request {
    client: Option<ClientId>,
    sequence: u64,
    delivered: u64,
}

impl Request {
    /// The fate of a request that the node could not serve: an error, or another try where that may help.
    fn refuse(&self, failure: &Failure, event: impl FnOnce(EventError) -> Fate) -> Fate {
        let again = matches!(
            failure.code,
            // This node is full or stopping, or another one is at work on the request: nobody has failed yet.
            Code::ConcurrencyLimit | Code::Cancelled | Code::SessionDuplicate | Code::Superseded
        );
        if !again {
            return event(failure.into());
        }
        if self.delivered >= MAX_DELIVERIES {
            let reason = format!("delivered {} times; last: {}", self.delivered, failure.reason);
            return event(EventError { code: MAX_DELIVERY_ATTEMPTS, reason });
        }
        let doublings = u32::try_from(self.delivered.saturating_sub(1)).unwrap_or(u32::MAX);
        Fate::GiveBack(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE))
    }
}

/// Marks a request as at work here, until dropped.
struct Running<'a> {
    shared: &'a Shared,
    key: (Queue, String),
}

/// What a mark found.
enum Mark<'a> {
    /// Nobody is at work on it here.
    Fresh(Running<'a>),
    /// Another delivery of the same message is.
    SameMessage,
    /// Another message with the same name is.
    Duplicate,
}

impl<'a> Running<'a> {
    fn mark(shared: &'a Shared, queue: Queue, name: String, sequence: u64) -> Mark<'a> {
        let key = (queue, name);
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get(&key) {
            Some(&other) if other == sequence => Mark::SameMessage,
            Some(_) => Mark::Duplicate,
            None => {
                running.insert(key.clone(), sequence);
                Mark::Fresh(Running { shared, key })
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn duplicate() -> Failure {
    Failure::new(Code::SessionDuplicate, "the same request is at work already")
}

async fn keygen(shared: &Shared, request: &Request, payload: &[u8]) -> Fate {
    let fate = |event: KeygenEvent| Fate::Answer {
        subject: event.subject(request.client.as_ref()),
        id: event.message_id(request.client.as_ref(), request.sequence),
        body: event.to_json(),
    };
    let parsed = match KeygenRequest::parse(payload) {
        Ok(parsed) => parsed,
        Err(error) => {
            shared.desk.recorder.refused(Kind::Keygen, error.code());
            return fate(KeygenEvent::failure(&text_field(payload, "wallet_id"), unparsed(&error)));
        }
    };
    let wallet = parsed.wallet().clone();
    let failed = |error: EventError| fate(KeygenEvent::failure(wallet.as_str(), error));
    let _running = match Running::mark(shared, Queue::Keygen, wallet.to_string(), request.sequence) {
        Mark::Fresh(running) => running,
        Mark::SameMessage => return Fate::Leave,
        Mark::Duplicate => return failed((&shared.desk.refused(Kind::Keygen, duplicate())).into()),
    };
    match shared.desk.generate(parsed).await {
        // A wallet that is there already answers a message that was delivered before: its first node may have died
        // after the wallet was made.
        Ok(generated) if generated.fresh || request.delivered > 1 => {
            let keys: Vec<_> = generated.certificate.record().keys.iter().map(|key| key.public_key()).collect();
            fate(KeygenEvent::success(wallet.as_str(), &keys))
        }
        Ok(_) => failed((&Failure::new(Code::KeyAlreadyExists, "the wallet exists already")).into()),
        Err(failure) => request.refuse(&failure, failed),
    }
}

async fn sign(shared: &Shared, request: &Request, payload: &[u8]) -> Fate {
    let fate = |event: SigningEvent| Fate::Answer {
        subject: event.subject(request.client.as_ref()),
        id: event.message_id(request.client.as_ref(), request.sequence),
        body: event.to_json(),
    };
    let parsed = match SignRequest::parse(payload) {
        Ok(parsed) => parsed,
        Err(error) => {
            shared.desk.recorder.refused(Kind::Sign(None), error.code());
            let [network, wallet, name] =
                ["network_internal_code", "wallet_id", "tx_id"].map(|f| text_field(payload, f));
            return fate(SigningEvent::failure(&network, &wallet, &name, unparsed(&error)));
        }
    };
    let (network, wallet) = (parsed.network_code().to_owned(), parsed.wallet().clone());
    let name = parsed.request_id().clone();
    let failed = |error: EventError| fate(SigningEvent::failure(&network, wallet.as_str(), name.as_str(), error));
    // A wallet id has no line breaks.
    let key = format!("{wallet}\n{name}");
    let _running = match Running::mark(shared, Queue::Signing, key, request.sequence) {
        Mark::Fresh(running) => running,
        Mark::SameMessage => return Fate::Leave,
        Mark::Duplicate => {
            return failed((&shared.desk.refused(Kind::Sign(Some(parsed.scheme())), duplicate())).into());
        }
    };
    match shared.desk.sign(parsed).await {
        Ok(signed) => fate(SigningEvent::success(&network, wallet.as_str(), name.as_str(), &signed.signature)),
        Err(failure) => request.refuse(&failure, failed),
    }
}

fn unparsed(error: &RequestError) -> EventError {
    EventError { code: error.code().into(), reason: error.to_string() }
}

/// A member of something that is no request, as far as it can be read: its client should know which one is meant.
fn text_field(payload: &[u8], name: &str) -> String {
    /// Longer ones are nobody's.
    const LONGEST: usize = 256;
    let object: Option<serde_json::Value> =
        (payload.len() <= MAX_REQUEST_BYTES).then(|| serde_json::from_slice(payload).ok()).flatten();
    let text = object.as_ref().and_then(|object| object.get(name)).and_then(serde_json::Value::as_str);
    text.filter(|text| text.len() <= LONGEST).unwrap_or_default().to_owned()
}

/// Tells the server from time to time that the request is at work, until it is through.
async fn with_progress(acker: &Acker, work: impl Future<Output = Fate>) -> Fate {
    tokio::pin!(work);
    loop {
        tokio::select! {
            fate = &mut work => return fate,
            () = tokio::time::sleep(PROGRESS) => {
                if let Err(error) = acker.ack_with(AckKind::Progress).await {
                    tracing::debug!(%error, "failed to report progress");
                }
            }
        }
    }
}

/// Publishes a result, and returns when the server has it.
async fn publish(
    context: &jetstream::Context,
    subject: String,
    id: &str,
    body: Vec<u8>,
) -> Result<(), jetstream::context::PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, id);
    let body = bytes::Bytes::from(body);
    for attempt in 1.. {
        let published = match context.publish_with_headers(subject.clone(), headers.clone(), body.clone()).await {
            Ok(acknowledged) => acknowledged.await.map(drop),
            Err(error) => Err(error),
        };
        match published {
            Err(error) if attempt < PUBLISH_ATTEMPTS => {
                tracing::warn!(%error, attempt, "a result did not reach its stream");
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt)).await;
            }
            outcome => return outcome,
        }
    }
    Ok(())
}
