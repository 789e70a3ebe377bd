//! One request: worked on by the node, its result published, and only then acknowledged.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::jetstream::message::{AckKind, Acker};
use async_nats::jetstream::{self, Message};
use async_nats::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::queue::{FIRST_PAUSE, LONGEST_PAUSE, Queue, Shared, Terms};
use super::{native, streams};
use crate::error::{Code, Failure};
use crate::metrics::Kind;
use crate::wire::mpcium::{
    CLIENT_ID_HEADER, ClientId, EventError, KeygenEvent, MAX_DELIVERY_ATTEMPTS, MessageKey, SigningEvent,
};
use crate::wire::request::{KeygenRequest, MAX_REQUEST_BYTES, RequestError, SignRequest};

/// How often a result is offered to the server before the request is given back.
const PUBLISH_ATTEMPTS: u32 = 3;
/// How often a request is acknowledged before it is left to be delivered again.
const ACK_ATTEMPTS: u32 = 3;

/// What becomes of a message.
enum Fate {
    /// This result, and the message is done.
    Answer { subject: String, id: String, body: Vec<u8> },
    /// It is delivered again after this time.
    GiveBack(Duration),
    /// Another task here is at work on the same message, and will answer it.
    Leave,
}

/// Brings one message to its fate.
pub(super) async fn answer(shared: Arc<Shared>, queue: Queue, terms: Terms, message: Message) {
    let (key, delivered) = match message.info() {
        Ok(info) => {
            let key = MessageKey { sequence: info.stream_sequence, taken_at: info.published.unix_timestamp_nanos() };
            (key, u64::try_from(info.delivered).unwrap_or(u64::MAX))
        }
        Err(error) => {
            tracing::error!(%error, "a message of a stream is none");
            return;
        }
    };
    let (message, acker) = message.split();
    if shared.answered(queue).contains(&key) {
        // Only the acknowledgement was lost. What it was answered with stands.
        acknowledge(&acker).await;
        return;
    }
    let request = Request {
        client: client_of(message.headers.as_ref()),
        message: key,
        delivered,
        max_deliveries: terms.max_deliveries,
        losses: shared.connection.status().borrow().losses,
        link_losses: shared.desk.links.borrow().losses,
    };
    let work = async {
        let fate = match queue {
            Queue::Keygen => keygen(&shared, &request, &message.payload).await,
            Queue::Signing => sign(&shared, &request, &message.payload).await,
        };
        match fate {
            Fate::Answer { subject, id, body } => match publish(&shared.context, subject, &id, body).await {
                Ok(()) => Some(None),
                Err(error) => {
                    tracing::error!(id, %error, "failed to publish a result; its request is given back");
                    Some(Some(FIRST_PAUSE * 10))
                }
            },
            Fate::GiveBack(pause) => Some(Some(pause)),
            Fate::Leave => None,
        }
    };
    match with_progress(&acker, terms.progress, work).await {
        Some(None) => {
            shared.counters.answered.fetch_add(1, Ordering::Relaxed);
            shared.answered(queue).insert(key);
            acknowledge(&acker).await;
        }
        Some(Some(pause)) => {
            shared.counters.given_back.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = acker.ack_with(AckKind::Nak(Some(pause))).await {
                // The server finds out by itself, only later.
                tracing::warn!(%error, "failed to give a request back");
            }
        }
        None => {}
    }
}

/// Whose results a request leads to, if it says so.
pub(super) fn client_of(headers: Option<&HeaderMap>) -> Option<ClientId> {
    let text = headers?.get(CLIENT_ID_HEADER)?;
    match ClientId::try_from(text.as_str()) {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::warn!(%error, "a request's result goes to everybody");
            None
        }
    }
}

/// Tells the server that a request is done, until it says that it knows.
async fn acknowledge(acker: &Acker) {
    for attempt in 1..=ACK_ATTEMPTS {
        match acker.double_ack().await {
            Ok(()) => return,
            // It is delivered again, and leads to the same result under the same id.
            Err(error) => tracing::warn!(%error, attempt, "failed to acknowledge a request"),
        }
    }
}

/// How a request came.
struct Request {
    client: Option<ClientId>,
    message: MessageKey,
    delivered: u64,
    /// How often it is delivered at most.
    max_deliveries: u64,
    /// How often the broker had been lost when it came, as clients reach it.
    losses: u64,
    /// The same, as the links do.
    link_losses: u64,
}

impl Request {
    /// The fate of a request that the node could not serve: an error, or another try where that may help.
    fn refuse(&self, shared: &Shared, failure: &Failure, event: impl FnOnce(EventError) -> Fate) -> Fate {
        // This node is full or stopping, or another one is at work on the request: nobody has failed yet.
        let is_early = matches!(
            failure.code,
            Code::ConcurrencyLimit | Code::Cancelled | Code::SessionDuplicate | Code::Superseded
        );
        let is_passing = failure.code.is_retryable() && (self.has_lost_broker(shared) || shared.is_settling());
        if !is_early && !is_passing {
            return event(failure.into());
        }
        if self.delivered >= self.max_deliveries {
            return event(self.worn(&failure.reason));
        }
        let doublings = u32::try_from(self.delivered.saturating_sub(1)).unwrap_or(u32::MAX);
        Fate::GiveBack(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE))
    }

    /// Whether it was delivered more often than any request that can be served needs: it may be what ends those who
    /// work on it.
    fn is_worn(&self) -> bool {
        self.delivered > self.max_deliveries
    }

    fn worn(&self, last: &str) -> EventError {
        let reason = format!("delivered {} times; last: {last}", self.delivered);
        EventError { code: MAX_DELIVERY_ATTEMPTS, reason }
    }

    /// Whether the broker was lost while the request was at work: then no peer could be reached, and none is to blame.
    fn has_lost_broker(&self, shared: &Shared) -> bool {
        let (status, links) = (shared.connection.status(), shared.desk.links.clone());
        let (status, links) = (status.borrow(), links.borrow());
        let usable = status.connected && links.connected && shared.desk.views.borrow().able;
        !usable || status.losses != self.losses || links.losses != self.link_losses
    }
}

/// Marks a request as at work here, until dropped.
///
/// It stands for exactly these bytes: nobody has checked yet who signed them, so another request that merely bears the
/// same name must not be in its way. What two requests of one name mean for each other is decided by the node, after
/// their signatures.
struct Running<'a> {
    shared: &'a Shared,
    key: (Queue, [u8; 32]),
}

/// What a mark found.
enum Mark<'a> {
    /// Nobody is at work on it here.
    Fresh(Running<'a>),
    /// Another delivery of the same message is.
    SameMessage,
    /// Another message that says the same is.
    Duplicate,
}

impl<'a> Running<'a> {
    fn mark(shared: &'a Shared, queue: Queue, payload: &[u8], message: MessageKey) -> Mark<'a> {
        let key = (queue, Sha256::digest(payload).into());
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get(&key) {
            Some(&other) if other == message => Mark::SameMessage,
            Some(_) => Mark::Duplicate,
            None => {
                running.insert(key, message);
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
        id: event.message_id(request.client.as_ref(), request.message),
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
    if request.is_worn() {
        return failed(request.worn("its nodes did not answer"));
    }
    let _running = match Running::mark(shared, Queue::Keygen, payload, request.message) {
        Mark::Fresh(running) => running,
        Mark::SameMessage => return Fate::Leave,
        Mark::Duplicate => return failed((&shared.desk.refused(Kind::Keygen, duplicate())).into()),
    };
    // A later delivery may find what an earlier one has made; the first finds what was there before.
    let existed = request.delivered <= 1 && shared.desk.wallet(wallet.clone()).await.is_ok();
    match shared.desk.generate(parsed).await {
        // A wallet that is there already answers a message that was delivered before: its first node may have died
        // after the wallet was made.
        Ok(generated) if generated.fresh || request.delivered > 1 => {
            let keys: Vec<_> = generated.certificate.record().keys.iter().map(|key| key.public_key()).collect();
            fate(KeygenEvent::success(wallet.as_str(), &keys))
        }
        Ok(_) => failed(existing()),
        Err(failure) => match request.refuse(shared, &failure, failed) {
            // Another try would pass it off as made for this message.
            Fate::GiveBack(_) if existed => failed(existing()),
            fate => fate,
        },
    }
}

fn existing() -> EventError {
    (&Failure::new(Code::KeyAlreadyExists, "the wallet exists already")).into()
}

async fn sign(shared: &Shared, request: &Request, payload: &[u8]) -> Fate {
    let fate = |event: SigningEvent| Fate::Answer {
        subject: event.subject(request.client.as_ref()),
        id: event.message_id(request.client.as_ref(), request.message),
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
    if request.is_worn() {
        return failed(request.worn("its nodes did not answer"));
    }
    let _running = match Running::mark(shared, Queue::Signing, payload, request.message) {
        Mark::Fresh(running) => running,
        Mark::SameMessage => return Fate::Leave,
        Mark::Duplicate => {
            return failed((&shared.desk.refused(Kind::Sign(Some(parsed.scheme())), duplicate())).into());
        }
    };
    match native::sign(&shared.desk, Some(&shared.relay), parsed).await.and_then(|signed| signed.to_signature()) {
        Ok(signature) => fate(SigningEvent::success(&network, wallet.as_str(), name.as_str(), &signature)),
        Err(failure) => request.refuse(shared, &failure, failed),
    }
}

pub(super) fn unparsed(error: &RequestError) -> EventError {
    EventError { code: error.code().into(), reason: error.to_string() }
}

/// A member of something that is no request, as far as it can be read: its client should know which one is meant.
pub(crate) fn text_field(payload: &[u8], name: &str) -> String {
    /// Longer ones are nobody's.
    const LONGEST: usize = 256;
    let object: Option<serde_json::Value> =
        (payload.len() <= MAX_REQUEST_BYTES).then(|| serde_json::from_slice(payload).ok()).flatten();
    let text = object.as_ref().and_then(|object| object.get(name)).and_then(serde_json::Value::as_str);
    // It becomes part of a subject and of a header, in which control characters have no place.
    let echoed = |text: &&str| text.len() <= LONGEST && !text.chars().any(char::is_control);
    text.filter(echoed).unwrap_or_default().to_owned()
}

/// Tells the server from time to time that the request is at work, until it is through.
async fn with_progress<T>(acker: &Acker, every: Duration, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(every) => {
                if let Err(error) = acker.ack_with(AckKind::Progress).await {
                    tracing::debug!(%error, "failed to report progress");
                }
            }
        }
    }
}

/// Publishes a result, and returns when the server has it.
pub(super) async fn publish(
    context: &jetstream::Context,
    subject: String,
    id: &str,
    body: Vec<u8>,
) -> Result<(), jetstream::context::PublishError> {
    let mut headers = HeaderMap::new();
    match id.parse::<HeaderValue>() {
        Ok(id) => headers.insert(header::NATS_MESSAGE_ID, id),
        // Names are checked before: a result without an id is better than none.
        Err(error) => tracing::error!(%error, "a result's id is no header"),
    }
    let body = bytes::Bytes::from(body);
    for attempt in 1.. {
        let published = match context.publish_with_headers(subject.clone(), headers.clone(), body.clone()).await {
            Ok(acknowledged) => acknowledged.await.map(drop),
            Err(error) => Err(error),
        };
        match published {
            Err(error) if attempt < PUBLISH_ATTEMPTS => {
                tracing::warn!(%error, attempt, "a result did not reach its stream");
                // Somebody may have deleted it.
                if let Err(error) = streams::results(context).await {
                    tracing::warn!(%error, "there is no stream for results");
                }
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt)).await;
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_field__should_echo_only_what_fits_a_subject_and_a_header() {
        let field = |json: &str| text_field(json.as_bytes(), "tx_id");
        assert_eq!(field(r#"{"tx_id":"tx-1","tx":7}"#), "tx-1");
        for json in
            [r#"{"tx_id":"a\nb"}"#, r#"{"tx_id":"a\rb"}"#, r#"{"tx_id":"\u0000"}"#, r#"{"tx_id":7}"#, "{}", "no"]
        {
            assert_eq!(field(json), "", "{json}");
        }
        let long = "x".repeat(257);
        assert_eq!(field(&format!(r#"{{"tx_id":"{long}"}}"#)), "");
    }
}
