//! mpcium's protocol from the client's side.

use std::marker::PhantomData;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::ClientError;
use crate::error::{Code, Failure};
use crate::nats::{self, ConnectError, Connection, Options};
use crate::wire::mpcium::{
    CLIENT_ID_HEADER, ClientId, KEYGEN_RESULT, KeygenEvent, RESULT_STREAM, SIGNING_RESULT, SigningEvent,
};
use crate::wire::request::{KeygenRequest, SignRequest};

/// How long a client may take to acknowledge a result before it comes again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How often a result comes again.
const MAX_DELIVER: i64 = 3;
/// How long one pull waits for results.
const PULL: Duration = Duration::from_secs(5);
/// How many results are fetched at a time: one that is fetched and not taken counts as delivered all the same.
const FETCHED: usize = 1;

/// A client whose requests and results wait in streams. Clones share the connection.
#[derive(Clone)]
pub struct WorkQueue {
    connection: Connection,
    context: jetstream::Context,
    client: Option<ClientId>,
}

impl WorkQueue {
    /// Connects. With a client id, results of this client's requests go to nobody else; without one, to whoever fetches
    /// first.
    ///
    /// # Errors
    /// As [`nats::connect`].
    pub async fn connect(options: &Options, client: Option<ClientId>) -> Result<Self, ConnectError> {
        let connection = nats::connect(options).await?;
        let context = jetstream::new(connection.client().clone());
        Ok(Self { connection, context, client })
    }

    /// The broker's connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Asks for a wallet. Returns when the request is in its stream.
    ///
    /// # Errors
    /// [`ClientError::Broker`]; a refusal of wallet ids with a dot: the subject of their result has a token more than
    /// what the contract has clients fetch, so nobody would ever get it.
    pub async fn request_wallet(&self, request: &KeygenRequest) -> Result<(), ClientError> {
        if request.wallet().as_str().contains('.') {
            let reason = "a wallet id with a dot has no result in mpcium's streams; ask for it directly";
            return Err(Failure::new(Code::MsgValidation, reason).into());
        }
        self.publish("mpc.keygen_request.new", request.bytes()).await
    }

    /// Asks for a signature. Returns when the request is in its stream.
    ///
    /// # Errors
    /// [`ClientError::Broker`].
    pub async fn request_signature(&self, request: &SignRequest) -> Result<(), ClientError> {
        self.publish("mpc.signing_request.new", request.bytes()).await
    }

    async fn publish(&self, subject: &'static str, body: &[u8]) -> Result<(), ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(client) = &self.client {
            headers.insert(CLIENT_ID_HEADER, client.as_str());
        }
        let sent = self.context.publish_with_headers(subject, headers, body.to_vec().into()).await;
        sent.map_err(broker)?.await.map_err(broker)?;
        Ok(())
    }

    /// The results of key generations.
    ///
    /// # Errors
    /// [`ClientError::Broker`], as when no node has made the stream yet; a refusal where the client's id differs from that
    /// of another one only in what consumer names cannot have (`:`, `-`).
    pub async fn wallets(&self) -> Result<Results<KeygenEvent>, ClientError> {
        self.results("mpc_keygen_result", KEYGEN_RESULT).await
    }

    /// The results of signings.
    ///
    /// # Errors
    /// [`ClientError::Broker`], as when no node has made the stream yet; a refusal where the client's id differs from that
    /// of another one only in what consumer names cannot have (`:`, `-`).
    pub async fn signatures(&self) -> Result<Results<SigningEvent>, ClientError> {
        self.results("mpc_signing_result", SIGNING_RESULT).await
    }

    /// The consumer of this client. The contract names it after the client's id, without telling some characters apart.
    async fn results<T>(&self, consumer: &str, prefix: &str) -> Result<Results<T>, ClientError> {
        let (name, filter) = match &self.client {
            None => (consumer.to_owned(), format!("{prefix}.*")),
            Some(client) => (consumer_name(consumer, client), format!("{prefix}.{client}.*")),
        };
        let config = pull::Config {
            durable_name: Some(name.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: MAX_DELIVER,
            filter_subject: filter,
            ..pull::Config::default()
        };
        let stream = self.context.get_stream(RESULT_STREAM).await.map_err(broker)?;
        let consumer = stream.get_or_create_consumer(&name, config).await.map_err(broker)?;
        let found = &consumer.cached_info().config.filter_subject;
        if let Some(client) = &self.client
            && !found.starts_with(&format!("{prefix}.{client}."))
        {
            let reason = format!("consumer {name} has the results of another client, {found}; take another client id");
            return Err(Failure::new(Code::MsgValidation, reason).into());
        }
        Ok(Results { consumer, batch: None, event: PhantomData })
    }
}

/// Results in the order in which they came.
pub struct Results<T> {
    consumer: PullConsumer,
    batch: Option<pull::Batch>,
    event: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Results<T> {
    /// The next result, acknowledged. What is no result is taken out of the stream and left.
    ///
    /// # Errors
    /// [`ClientError::Broker`]. Another call tries again.
    pub async fn next(&mut self) -> Result<T, ClientError> {
        loop {
            let mut batch = match self.batch.take() {
                Some(batch) => batch,
                None => self.consumer.batch().max_messages(FETCHED).expires(PULL).messages().await.map_err(broker)?,
            };
            let Some(message) = batch.next().await else { continue };
            let message = message.map_err(|error| ClientError::Broker(error.to_string()))?;
            self.batch = Some(batch);
            let event = serde_json::from_slice(&message.payload);
            let kind = if event.is_ok() { AckKind::Ack } else { AckKind::Term };
            if let Err(error) = message.double_ack_with(kind).await {
                // It may come again; it must not be lost.
                tracing::warn!(%error, "failed to acknowledge a result");
            }
            match event {
                Ok(event) => return Ok(event),
                Err(error) => tracing::warn!(%error, "a message among the results is none"),
            }
        }
    }
}

/// The durable of a client: what consumer names must not have becomes `_`.
fn consumer_name(consumer: &str, client: &ClientId) -> String {
    let client: String =
        client.as_str().chars().map(|c| if matches!(c, '.' | ':' | ' ' | '-') { '_' } else { c }).collect();
    format!("{consumer}_{client}")
}

fn broker(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broker(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumer_name__should_be_the_contracts() {
        let client = ClientId::try_from("team-1:a").unwrap();
        assert_eq!(consumer_name("mpc_signing_result", &client), "mpc_signing_result_team_1_a");
    }
}
