//! Requests that are answered directly: see [`wire::native`](crate::wire::native).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::{Client, Message, Subscriber};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::desk::{Desk, addresses, path_of};
use super::queue::{FLUSH, Shared, note};
use super::relay::{Question, Relay};
use crate::error::{Code, Failure};
use crate::ids::Scheme;
use crate::keys::Signature;
use crate::metrics::Kind;
use crate::process;
use crate::protocol::derivation::derive;
use crate::wallet::{DestructionCertificate, WalletRecord};
use crate::wire::native::{
    Answer, CheckedKey, CheckedMember, Checkup, DeriveQuery, DerivedKey, Destruction, Key, MAX_ANSWER_BYTES,
    NodeStatus, Operation, PeerReport, Signed, Wallet, WalletQuery,
};
use crate::wire::request::{DestroyRequest, KeygenRequest, RequestError, ReshareRequest, SignRequest};

/// What the subjects begin with on which clients take answers: `_INBOX.` and `_INBOX_<name>.` among them.
const INBOX: &str = "_INBOX";
/// One node of those that could answers.
const QUEUE_GROUP: &str = "quorate";
/// The longest question, in bytes: signed requests have a limit of their own.
const MAX_QUESTION_BYTES: usize = 128 * 1024;
/// How many wallets are checked up for clients at a time.
const MAX_CHECKUPS: usize = 8;
/// How many questions that need no session are answered at a time.
const MAX_QUERIES: usize = 64;

/// Answers until `stop` turns true and what was taken is answered.
pub(super) async fn serve(shared: Arc<Shared>, place: Place, rooms: Rooms, mut stop: watch::Receiver<bool>) {
    let client = shared.connection.client().clone();
    let mut questions = SelectAll::new();
    for operation in Operation::ALL {
        let desk = &shared.desk;
        let subject = match place {
            Place::Cluster => operation.subject(&desk.cluster),
            Place::Here => operation.subject_at(&desk.cluster, desk.me),
        };
        shared.connection.claim(&subject);
        let subscribed = match (place, operation) {
            (Place::Here, _) | (_, Operation::Status) => client.subscribe(subject).await,
            (Place::Cluster, _) => client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await,
        };
        match subscribed {
            Ok(subscriber) => questions.push(Questions { operation, subscriber }),
            Err(error) => tracing::error!(%operation, %error, "failed to subscribe to clients' requests"),
        }
    }
    let mut work = JoinSet::new();
    let mut stopping = false;
    let last_call = tokio::time::sleep(FLUSH);
    tokio::pin!(last_call);
    loop {
        tokio::select! {
            Some((operation, question)) = questions.next() => {
                match rooms.of(operation).try_acquire_owned() {
                    Ok(room) => {
                        let (shared, client) = (Arc::clone(&shared), client.clone());
                        let relays = place == Place::Cluster;
                        work.spawn(async move {
                            let relay = relays.then_some(&shared.relay);
                            let answer = answer(&shared.desk, relay, operation, &question.payload).await;
                            drop(room);
                            reply(&client, question, answer).await;
                        });
                    }
                    Err(_) => {
                        let full = Failure::new(Code::ConcurrencyLimit, "too many requests are at work");
                        let full = match kind(operation) {
                            Some(kind) => shared.desk.refused(kind, full),
                            None => full,
                        };
                        reply(&client, question, encode(Err::<(), _>(full))).await;
                    }
                }
            }
            Some(done) = work.join_next(), if !work.is_empty() => note(&done),
            _ = stop.changed(), if !stopping => {
                // Others in the queue group get what comes from now on; what has come already is answered.
                stopping = true;
                last_call.as_mut().reset(Instant::now() + FLUSH);
                for questions in questions.iter_mut() {
                    // Where the connection is gone, nothing comes any more.
                    let _ = questions.subscriber.drain().await;
                }
            }
            // Without a connection, the library does not say that nothing more has come.
            () = &mut last_call, if stopping => break,
            else => break,
        }
    }
    while let Some(done) = work.join_next().await {
        note(&done);
    }
    shared.connection.flush(FLUSH).await;
}

/// At whose subjects questions come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At those of all nodes: one of them answers, and may hand the question on.
    Cluster,
    /// At this node's own.
    Here,
}

/// The questions of one kind.
struct Questions {
    operation: Operation,
    subscriber: Subscriber,
}

impl Stream for Questions {
    type Item = (Operation, Message);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let operation = self.operation;
        self.subscriber.poll_next_unpin(context).map(|next| next.map(|message| (operation, message)))
    }
}

/// How many requests of each kind are at work at a time.
pub(super) struct Rooms {
    keygen: Arc<Semaphore>,
    reshare: Arc<Semaphore>,
    sign: Arc<Semaphore>,
    checkup: Arc<Semaphore>,
    query: Arc<Semaphore>,
}

impl Rooms {
    pub(super) fn new(keygen: usize, sign: usize) -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        Self {
            keygen: room(keygen),
            reshare: room(keygen),
            sign: room(sign),
            checkup: room(MAX_CHECKUPS),
            query: room(MAX_QUERIES),
        }
    }

    fn of(&self, operation: Operation) -> Arc<Semaphore> {
        Arc::clone(match operation {
            Operation::Keygen => &self.keygen,
            Operation::Sign => &self.sign,
            Operation::Reshare | Operation::Destroy => &self.reshare,
            Operation::Checkup => &self.checkup,
            Operation::Certificate | Operation::Wallet | Operation::Derive | Operation::Status => &self.query,
        })
    }
}

/// What is counted of an operation. Queries are not.
const fn kind(operation: Operation) -> Option<Kind> {
    match operation {
        Operation::Keygen => Some(Kind::Keygen),
        Operation::Sign => Some(Kind::Sign(None)),
        Operation::Reshare => Some(Kind::Reshare),
        Operation::Checkup
        | Operation::Destroy
        | Operation::Certificate
        | Operation::Wallet
        | Operation::Derive
        | Operation::Status => None,
    }
}

/// Whether an answer may go there. The server does not ask whether the client may publish to what it names, and this
/// node may: to streams, leases, other nodes.
fn is_inbox(subject: &str) -> bool {
    subject.starts_with(INBOX)
}

async fn reply(client: &Client, question: Message, answer: Vec<u8>) {
    let Some(to) = question.reply.filter(|to| is_inbox(to)) else {
        tracing::debug!(subject = %question.subject, "a request without a place for its answer");
        return;
    };
    if let Err(error) = client.publish(to, answer.into()).await {
        tracing::warn!(%error, "failed to answer a client");
    }
}

async fn answer(desk: &Desk, relay: Option<&Relay>, operation: Operation, payload: &[u8]) -> Vec<u8> {
    if payload.len() > MAX_QUESTION_BYTES {
        return encode(Err::<(), _>(Failure::new(Code::MsgValidation, "the request is longer than 128 KiB")));
    }
    match operation {
        Operation::Keygen => encode(keygen(desk, payload).await),
        Operation::Sign => encode(match parsed(desk, Kind::Sign(None), SignRequest::parse(payload)) {
            Ok(request) => sign(desk, relay, request).await,
            Err(failure) => Err(failure),
        }),
        Operation::Reshare => encode(reshare(desk, relay, payload).await),
        Operation::Checkup => encode(or_elsewhere(desk, relay, operation, payload, check_up(desk, payload)).await),
        Operation::Destroy => encode(or_elsewhere(desk, relay, operation, payload, destroy(desk, payload)).await),
        Operation::Certificate => {
            encode(or_elsewhere(desk, relay, operation, payload, certificate(desk, payload)).await)
        }
        Operation::Wallet => encode(or_elsewhere(desk, relay, operation, payload, wallet(desk, payload)).await),
        Operation::Derive => encode(or_elsewhere(desk, relay, operation, payload, derived(desk, payload)).await),
        Operation::Status => encode(Ok(status(desk))),
    }
}

fn encode<T: Serialize>(result: Result<T, Failure>) -> Vec<u8> {
    let encoded = serde_json::to_vec(&Answer::from(result)).unwrap_or_default();
    if encoded.is_empty() || encoded.len() > MAX_ANSWER_BYTES {
        let failure = Failure::new(Code::Internal, "the answer cannot be encoded");
        return serde_json::to_vec(&Answer::<()>::Error(failure.into())).unwrap_or_default();
    }
    encoded
}

fn parse<T: DeserializeOwned>(question: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(question).map_err(|error| {
        let code = if error.is_data() { Code::MsgValidation } else { Code::UnmarshalFailure };
        Failure::new(code, format!("failed to parse the request (line {}, column {})", error.line(), error.column()))
    })
}

/// A request as parsed, or its failure, counted.
fn parsed<T>(desk: &Desk, kind: Kind, parsed: Result<T, RequestError>) -> Result<T, Failure> {
    parsed.map_err(|error| desk.refused(kind, Failure::new(error.code(), error.to_string())))
}

async fn or_elsewhere<T: DeserializeOwned>(
    desk: &Desk,
    relay: Option<&Relay>,
    operation: Operation,
    payload: &[u8],
    here: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match relay {
        Some(relay) => relay.or_elsewhere(desk, Question { operation, payload }, here).await,
        None => here.await,
    }
}

async fn keygen(desk: &Desk, question: &[u8]) -> Result<Wallet, Failure> {
    let request = parsed(desk, Kind::Keygen, KeygenRequest::parse(question))?;
    let generated = desk.generate(request).await?;
    Ok(wallet_of(generated.certificate.record(), generated.fresh))
}

/// Signs, here or on a node that holds the wallet.
pub(super) async fn sign(desk: &Desk, relay: Option<&Relay>, request: SignRequest) -> Result<Signed, Failure> {
    let kind = Kind::Sign(Some(request.scheme()));
    let (wallet_id, tx_id, payload) =
        (request.wallet().clone(), request.request_id().clone(), request.bytes().to_vec());
    let here = async {
        let signed = desk.sign(request).await?;
        Ok(Signed {
            wallet_id,
            tx_id,
            key_type: signed.signature.scheme(),
            public_key: hex::encode(signed.public_key.as_bytes()),
            signature: hex::encode(signed.signature.to_bytes()),
            recovery: match signed.signature {
                Signature::Ecdsa { recovery, .. } => Some(recovery),
                Signature::Ed25519(_) | Signature::Bip340(_) => None,
            },
            session: signed.session.map(|session| session.to_string()),
        })
    };
    desk.recorder.measured(kind, or_elsewhere(desk, relay, Operation::Sign, &payload, here)).await
}

async fn reshare(desk: &Desk, relay: Option<&Relay>, payload: &[u8]) -> Result<Wallet, Failure> {
    let request = parsed(desk, Kind::Reshare, ReshareRequest::parse(payload))?;
    let here = async {
        let reshared = desk.reshare(request).await?;
        Ok(wallet_of(reshared.certificate.record(), reshared.fresh))
    };
    desk.recorder.measured(Kind::Reshare, or_elsewhere(desk, relay, Operation::Reshare, payload, here)).await
}

async fn check_up(desk: &Desk, payload: &[u8]) -> Result<Checkup, Failure> {
    let WalletQuery { wallet_id } = parse(payload)?;
    let checked = desk.check_up(wallet_id).await?;
    let good = checked.is_good();
    let keys = checked.keys.into_iter().map(|key| CheckedKey {
        key_type: key.scheme,
        generation: key.generation.0,
        members: key.members.into_iter().map(|(node_id, problem)| CheckedMember { node_id, problem }).collect(),
    });
    Ok(Checkup { wallet_id: checked.wallet, good, keys: keys.collect() })
}

async fn destroy(desk: &Desk, payload: &[u8]) -> Result<Destruction, Failure> {
    let request = DestroyRequest::parse(payload).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    destruction_of(&*desk.destroy(request).await?)
}

async fn certificate(desk: &Desk, question: &[u8]) -> Result<Destruction, Failure> {
    let WalletQuery { wallet_id } = parse(question)?;
    destruction_of(&*desk.certificate(wallet_id).await?)
}

fn destruction_of(certificate: &DestructionCertificate) -> Result<Destruction, Failure> {
    let encoded = certificate.encode().map_err(|error| Failure::new(error.code(), error.to_string()))?;
    Ok(Destruction {
        wallet_id: certificate.record().wallet.clone(),
        complete: certificate.is_complete(),
        missing: certificate.missing().into_iter().collect(),
        certificate: STANDARD.encode(encoded),
    })
}

async fn wallet(desk: &Desk, question: &[u8]) -> Result<Wallet, Failure> {
    let WalletQuery { wallet_id } = parse(question)?;
    Ok(wallet_of(desk.wallet(wallet_id).await?.record(), false))
}

async fn derived(desk: &Desk, question: &[u8]) -> Result<DerivedKey, Failure> {
    let DeriveQuery { wallet_id, key_type, derivation_path } = parse(question)?;
    let path = path_of(derivation_path.clone())?;
    let certificate = desk.wallet(wallet_id.clone()).await?;
    let derive = move || {
        let record = certificate.record();
        let missing = || Failure::new(Code::KeyNotFound, format!("the wallet has no {key_type} key"));
        let key = record.key(key_type).ok_or_else(missing)?.public_key();
        derive(&key, &record.chain_code, &path).map_err(|error| Failure::new(error.code(), error.to_string()))
    };
    let failed = |_| Failure::new(Code::Internal, "the node failed; its log says more");
    let public_key = desk.pool.run(derive).await.map_err(failed)??.public_key;
    Ok(DerivedKey {
        wallet_id,
        key_type,
        derivation_path,
        public_key: hex::encode(public_key.as_bytes()),
        addresses: addresses(&public_key),
    })
}

fn wallet_of(record: &WalletRecord, fresh: bool) -> Wallet {
    let keys = record.keys.iter().map(|key| {
        let public_key = key.public_key();
        Key {
            key_type: public_key.scheme(),
            public_key: hex::encode(public_key.as_bytes()),
            threshold: key.group.threshold().signers(),
            generation: key.generation.0,
            committee: key.committee.iter().map(|member| member.node).collect(),
            addresses: addresses(&public_key),
        }
    });
    Wallet { wallet_id: record.wallet.clone(), fresh, session: record.session.to_string(), keys: keys.collect() }
}

/// The node as it sees itself and the others.
pub(crate) fn status(desk: &Desk) -> NodeStatus {
    let view = Arc::clone(&desk.views.borrow());
    let name =
        |node| desk.peers.members().iter().find(|member| member.id == node).map(|member| member.name.to_string());
    let peers = view.peers.iter().map(|(&node, peer)| PeerReport {
        node_id: node,
        name: name(node).unwrap_or_default(),
        ready: peer.is_ready(),
        leased: peer.leased,
        linked: peer.linked,
        paired: view.can_run(Scheme::Ecdsa, desk.me, node),
        rtt_ms: peer.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
    });
    NodeStatus {
        node_id: desk.me,
        name: name(desk.me).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: desk.started.elapsed().as_secs(),
        health: view.health(desk.threshold.signers()),
        threshold: desk.threshold.signers(),
        parties: desk.threshold.parties(),
        peers: peers.collect(),
        process: process::of_this(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers__should_go_to_inboxes_only() {
        assert!(["_INBOX.a.b", "_INBOX_team.c"].into_iter().all(is_inbox));
        let others =
            ["$JS.API.STREAM.PURGE.mpc", "$KV.b.k", "mpc.mpc_signing_result.complete", "quorate.c.v1.sign", ""];
        assert!(!others.into_iter().any(is_inbox));
    }
}
