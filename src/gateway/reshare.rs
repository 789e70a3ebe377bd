//! mpcium's requests to deal keys anew: published to all nodes, kept by nobody, answered in the stream of results.
//!
//! All nodes hear a request. The first of the ready members of the wallet takes it on; should two of them think that they
//! are the first, their sessions are for the same request, and one of them goes on. A wallet that no node holds is answered
//! for by the first ready node, after a time in which any other would have answered: the stream takes one of two results
//! that have the same id.

use std::sync::Arc;

use async_nats::Message;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::answer::{client_of, publish, text_field, unparsed};
use super::desk::GRACE;
use super::queue::{FLUSH, Shared, note};
use crate::error::{Code, Failure};
use crate::ids::NodeId;
use crate::metrics::Kind;
use crate::wallet::members;
use crate::wire::mpcium::{EventError, RESHARE_REQUEST, ReshareEvent};
use crate::wire::request::{MAX_REQUEST_BYTES, ReshareRequest};

/// Serves requests until `stop` turns true and what was taken is answered. Of those that come while `room` are at work,
/// nothing is taken.
pub(super) async fn serve(shared: Arc<Shared>, room: usize, mut stop: watch::Receiver<bool>) {
    // Not claimed: a server that does not let nodes hear this serves everything else.
    let mut requests = match shared.connection.client().subscribe(RESHARE_REQUEST).await {
        Ok(requests) => requests,
        Err(error) => {
            tracing::error!(%error, "failed to subscribe to requests to reshare");
            return;
        }
    };
    let room = Arc::new(Semaphore::new(room));
    let mut work = JoinSet::new();
    loop {
        tokio::select! {
            next = requests.next() => {
                let Some(message) = next else { break };
                match Arc::clone(&room).try_acquire_owned() {
                    Ok(place) => {
                        let shared = Arc::clone(&shared);
                        work.spawn(async move {
                            answer(&shared, &message).await;
                            drop(place);
                        });
                    }
                    // Nobody is told: the request may be another node's.
                    Err(_) => tracing::warn!("a request to reshare is not taken: too many are at work"),
                }
            }
            Some(done) = work.join_next(), if !work.is_empty() => note(&done),
            _ = stop.changed() => break,
        }
    }
    while let Some(done) = work.join_next().await {
        note(&done);
    }
    shared.connection.flush(FLUSH).await;
}

/// A result, and what tells it from others.
struct Outcome {
    event: ReshareEvent,
    what: String,
}

async fn answer(shared: &Shared, message: &Message) {
    let payload = &message.payload;
    let client = client_of(message.headers.as_ref());
    let (session, outcome) = match ReshareRequest::parse(payload) {
        Ok(request) => (request.session().to_string(), reshare(shared, request).await),
        Err(error) => {
            if !is_first(shared, |_| true) {
                return;
            }
            shared.desk.recorder.refused(Kind::Reshare, error.code());
            let [session, wallet, key_type] = ["session_id", "wallet_id", "key_type"].map(|f| text_field(payload, f));
            let event = ReshareEvent::failure(&wallet, threshold_of(payload), &key_type, unparsed(&error));
            (session, Some(Outcome { event, what: Uuid::new_v4().to_string() }))
        }
    };
    let Some(Outcome { event, what }) = outcome else { return };
    let subject = ReshareEvent::subject(&session, client.as_ref());
    let id = ReshareEvent::message_id(&session, client.as_ref(), &what);
    if let Err(error) = publish(&shared.context, subject, &id, event.to_json()).await {
        tracing::error!(id, %error, "failed to publish a result");
    }
}

/// Does what a request asks for, if it is for this node to do. Another node does otherwise.
async fn reshare(shared: &Shared, request: ReshareRequest) -> Option<Outcome> {
    let (wallet, threshold) = (request.wallet().clone(), u64::from(request.threshold().signers()) - 1);
    let scheme = request.schemes().first().copied()?;
    let failed = |failure: Failure, what: String| {
        // Clients of this protocol know a failure of the node by what failed.
        let code = if failure.code == Code::Internal { Code::ReshareFailure } else { failure.code };
        let error = EventError { code: code.into(), reason: failure.reason };
        Some(Outcome { event: ReshareEvent::failure(wallet.as_str(), threshold, scheme.as_str(), error), what })
    };
    let content = hex::encode(request.content_hash());
    match shared.desk.wallet(wallet.clone()).await {
        Ok(certificate) => {
            let members = members(certificate.record());
            if !is_first(shared, |node| members.contains(&node)) {
                return None;
            }
        }
        Err(failure) if failure.code == Code::KeyNotFound => {
            if !is_first(shared, |_| true) {
                return None;
            }
            tokio::time::sleep(shared.desk.reshare_deadline + GRACE).await;
            // A node that holds the wallet has answered by now, and under the same id.
            return failed(shared.desk.refused(Kind::Reshare, failure), content);
        }
        Err(failure) => {
            tracing::error!(%wallet, %failure, "a request to reshare is not taken");
            return None;
        }
    }
    let work = shared.desk.reshare(request);
    match shared.desk.recorder.measured(Kind::Reshare, work).await {
        Ok(reshared) => {
            let key = reshared.certificate.record().key(scheme)?.public_key();
            Some(Outcome { event: ReshareEvent::success(wallet.as_str(), threshold, &key), what: content })
        }
        // It may be sent again, and then has another result.
        Err(failure) => failed(failure, Uuid::new_v4().to_string()),
    }
}

/// Whether this node is the first of the ready nodes of which `is_one` holds.
fn is_first(shared: &Shared, is_one: impl Fn(NodeId) -> bool) -> bool {
    let ready = shared.desk.views.borrow().ready();
    ready.into_iter().find(|&node| is_one(node)) == Some(shared.desk.me)
}

/// The threshold of something that is no request, as far as it can be read.
fn threshold_of(payload: &[u8]) -> u64 {
    let object: Option<serde_json::Value> =
        (payload.len() <= MAX_REQUEST_BYTES).then(|| serde_json::from_slice(payload).ok()).flatten();
    object.and_then(|object| object.get("new_threshold")?.as_u64()).unwrap_or_default()
}
