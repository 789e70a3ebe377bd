//! The client library: what programs that use a cluster call.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use quorate::client::{Client, Options, SignRequest};
//! use quorate::identity::RequestKeyFiles;
//! use quorate::ids::Scheme;
//!
//! let key = RequestKeyFiles::initiator(".".as_ref(), &"event_initiator".parse()?).load(None)?;
//! let client = Client::connect(&Options::new(["nats://127.0.0.1:4222"], "treasury"), "quorate".parse()?).await?;
//! let request = SignRequest::builder(Scheme::Ed25519, "wallet-1".parse()?, "tx-1".parse()?, b"a message");
//! let signed = client.sign(&request.sign_with(&key)?).await?;
//! println!("{}", signed.signature);
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] asks and is answered, for low latency. [`WorkQueue`] speaks mpcium's protocol: its requests wait in a
//! stream until a node takes them, and so do its results until they are fetched. Both take the same signed requests; a
//! request that is sent by both, or again, has one result.
//!
//! Requests are signed by a [`Signer`]: a [`RequestKey`](crate::identity::RequestKey) from a file, plain or encrypted,
//! or any other by [`SignWith`].

mod queue;

use std::time::Duration;

use async_nats::RequestErrorKind;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, Failure};
use crate::ids::{ClusterId, Scheme, WalletId};
use crate::keys::DerivationPath;
use crate::nats::{self, Connection};
use crate::wire::native::{
    Answer, Checkup, DeriveQuery, DerivedKey, Destruction, NodeStatus, Operation, Signed, Wallet, WalletQuery,
};

pub use self::queue::{Results, WorkQueue};
pub use crate::nats::{ConnectError, Credentials, Options, Tls};
pub use crate::wire::mpcium::{ClientId, KeygenEvent, SigningEvent};
pub use crate::wire::request::{
    AuthorizerId, DestroyRequest, KeygenRequest, RequestSigner as Signer, ReshareRequest, SignRequest, SigningFailed,
};

/// How long an answer may take: longer than any deadline of a cluster with default settings.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The most nodes that a cluster has.
const MAX_NODES: usize = 32;

/// A request had no answer of a node.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The cluster refused, or failed.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// No node listens: none runs, or the cluster has another name.
    #[error("failed to reach the cluster: no node listens for its clients")]
    Nobody,
    /// No answer came in time. Whether the request was carried out is open: send the same one again to find out.
    #[error("failed to hear from the cluster in time; the same request may be sent again")]
    Timeout,
    /// The broker does not do its part.
    #[error("failed to use the broker: {0}")]
    Broker(String),
    /// What came back is no answer.
    #[error("failed to understand the answer")]
    Malformed,
}

impl ClientError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Refused(failure) => failure.code,
            Self::Nobody | Self::Broker(_) => Code::PeerUnavailable,
            Self::Timeout => Code::SessionTimeout,
            Self::Malformed => Code::UnmarshalFailure,
        }
    }
}

/// Signs requests with a function: a key in a device, or in another program.
pub struct SignWith<F>(pub F);

impl<F: Fn(&[u8]) -> Result<Vec<u8>, SigningFailed>> Signer for SignWith<F> {
    fn sign_request(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        (self.0)(bytes)
    }
}

/// A client that asks and is answered. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    cluster: ClusterId,
    limit: Duration,
}

impl Client {
    /// Connects to the broker of `cluster`.
    ///
    /// # Errors
    /// As [`nats::connect`].
    pub async fn connect(options: &Options, cluster: ClusterId) -> Result<Self, ConnectError> {
        Ok(Self { connection: nats::connect(options).await?, cluster, limit: ANSWER_LIMIT })
    }

    /// Waits at most this long for an answer, instead of 60 s.
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The broker's connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Has a wallet made.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn keygen(&self, request: &KeygenRequest) -> Result<Wallet, ClientError> {
        self.ask(Operation::Keygen, request.bytes().to_vec()).await
    }

    /// Has a message signed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sign(&self, request: &SignRequest) -> Result<Signed, ClientError> {
        self.ask(Operation::Sign, request.bytes().to_vec()).await
    }

    /// Has keys of a wallet dealt anew: to other nodes, or to the same.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reshare(&self, request: &ReshareRequest) -> Result<Wallet, ClientError> {
        self.ask(Operation::Reshare, request.bytes().to_vec()).await
    }

    /// Has the shares of all members of a wallet checked.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn checkup(&self, wallet: WalletId) -> Result<Checkup, ClientError> {
        self.ask(Operation::Checkup, encode(&WalletQuery { wallet_id: wallet })?).await
    }

    /// Has a wallet destroyed, for ever, on all nodes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn destroy(&self, request: &DestroyRequest) -> Result<Destruction, ClientError> {
        self.ask(Operation::Destroy, request.bytes().to_vec()).await
    }

    /// Asks for the certificate of a wallet's destruction.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn certificate(&self, wallet: WalletId) -> Result<Destruction, ClientError> {
        self.ask(Operation::Certificate, encode(&WalletQuery { wallet_id: wallet })?).await
    }

    /// Asks what a wallet is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wallet(&self, wallet: WalletId) -> Result<Wallet, ClientError> {
        self.ask(Operation::Wallet, encode(&WalletQuery { wallet_id: wallet })?).await
    }

    /// Asks for a child key and its addresses.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn derive(
        &self,
        wallet: WalletId,
        scheme: Scheme,
        path: &DerivationPath,
    ) -> Result<DerivedKey, ClientError> {
        let derivation_path = path.indices().to_vec();
        let query = DeriveQuery { wallet_id: wallet, key_type: scheme, derivation_path };
        self.ask(Operation::Derive, encode(&query)?).await
    }

    /// Asks all nodes how they are, and returns when all that the first one knows have answered, or `wait` has passed.
    /// The nodes are sorted by name.
    ///
    /// # Errors
    /// [`ClientError::Nobody`] when none answers, or the broker's.
    pub async fn status(&self, wait: Duration) -> Result<Vec<NodeStatus>, ClientError> {
        let broker = |error: &dyn std::fmt::Display| ClientError::Broker(error.to_string());
        let client = self.connection.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| broker(&error))?;
        let subject = Operation::Status.subject(&self.cluster);
        client.publish_with_reply(subject, inbox, Vec::new().into()).await.map_err(|error| broker(&error))?;
        let mut nodes: Vec<NodeStatus> = Vec::new();
        let all = async {
            while let Some(message) = answers.next().await {
                if message.status.is_some() {
                    // The server says that nobody listens.
                    return;
                }
                let Ok(answer) = decode::<NodeStatus>(&message.payload) else { continue };
                let known = usize::from(answer.parties).min(MAX_NODES);
                if nodes.iter().all(|node| node.node_id != answer.node_id) {
                    nodes.push(answer);
                }
                if nodes.len() >= known {
                    return;
                }
            }
        };
        // Whoever has not answered by then is not there.
        let _ = tokio::time::timeout(wait, all).await;
        if nodes.is_empty() {
            return Err(ClientError::Nobody);
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    async fn ask<T: DeserializeOwned>(&self, operation: Operation, question: Vec<u8>) -> Result<T, ClientError> {
        let request = async_nats::Request::new().payload(question.into()).timeout(Some(self.limit));
        let subject = operation.subject(&self.cluster);
        let answer = self.connection.client().send_request(subject, request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => ClientError::Nobody,
            RequestErrorKind::TimedOut => ClientError::Timeout,
            _ => ClientError::Broker(error.to_string()),
        })?;
        decode(&answer.payload)
    }
}

fn encode(query: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(query).map_err(|_| ClientError::Malformed)
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ClientError> {
    let answer = Answer::decode(payload).ok_or(ClientError::Malformed)?;
    Result::from(answer).map_err(ClientError::Refused)
}
