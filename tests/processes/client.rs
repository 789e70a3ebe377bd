//! A client of mpcium's protocol, written after `mpcium-client-protocol`: it shares no code with the nodes, but the keys
//! that it signs with.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, PullConsumer, pull};
use async_nats::jetstream::{self, stream};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use quorate::wire::request::RequestSigner;
use serde_json::Value;

use crate::until;

/// How long one look for results takes at most.
const FETCH: Duration = Duration::from_millis(300);

/// What a client signs requests with.
pub(crate) type Signer<'a> = &'a (dyn RequestSigner + Sync);

/// One client.
pub(crate) struct Wire {
    pub(crate) context: jetstream::Context,
    id: Option<String>,
}

/// A signing request before it is signed.
#[derive(Clone)]
pub(crate) struct Tx<'a> {
    pub(crate) key_type: &'a str,
    pub(crate) wallet: &'a str,
    pub(crate) network: &'a str,
    pub(crate) id: &'a str,
    pub(crate) message: &'a [u8],
    pub(crate) path: Option<&'a [u32]>,
}

/// How much the initiator signs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// As mpcium's client in Go does.
    Legacy,
    /// As mpcium's client in TypeScript does: the same, by `JSON.stringify`.
    Stringified,
    /// With the derivation path.
    Complete,
}

/// Members that are written one after the other, as Go does: no blanks, and these characters escaped.
fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A text as Go writes it.
fn quoted(text: &str) -> String {
    let escaped =
        [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
    escaped.iter().fold(Value::from(text).to_string(), |text, (character, escape)| text.replace(character, escape))
}

fn base64(bytes: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(bytes))
}

/// What authorizers approve.
fn approvals(subject: &str, raw: &str, signature: &[u8], authorizers: &[(&str, Signer<'_>)]) -> Option<String> {
    let statement = object(&[
        ("initiator_id", quoted(subject)),
        ("initiator_raw", base64(raw.as_bytes())),
        ("initiator_sig", base64(signature)),
    ]);
    let list: Vec<String> = authorizers
        .iter()
        .map(|(id, signer)| {
            let signature = signer.sign_request(statement.as_bytes()).unwrap();
            object(&[("authorizer_id", quoted(id)), ("signature", base64(&signature))])
        })
        .collect();
    (!list.is_empty()).then(|| format!("[{}]", list.join(",")))
}

/// A request for a wallet.
pub(crate) fn keygen(wallet: &str, initiator: Signer<'_>, authorizers: &[(&str, Signer<'_>)]) -> String {
    let signature = initiator.sign_request(wallet.as_bytes()).unwrap();
    let mut members = vec![("wallet_id", quoted(wallet)), ("signature", base64(&signature))];
    if let Some(list) = approvals(wallet, wallet, &signature, authorizers) {
        members.push(("authorizer_signatures", list));
    }
    object(&members)
}

/// A request to deal a key anew. `new_threshold` is one less than the number of signers.
pub(crate) fn reshare(
    session: &str,
    nodes: &[String],
    new_threshold: u32,
    key_type: &str,
    wallet: &str,
    initiator: Signer<'_>,
) -> String {
    let nodes: Vec<String> = nodes.iter().map(|node| quoted(node)).collect();
    let mut members = vec![
        ("session_id", quoted(session)),
        ("node_ids", format!("[{}]", nodes.join(","))),
        ("new_threshold", new_threshold.to_string()),
        ("key_type", quoted(key_type)),
        ("wallet_id", quoted(wallet)),
    ];
    let signature = initiator.sign_request(object(&members).as_bytes()).unwrap();
    members.push(("signature", base64(&signature)));
    object(&members)
}

impl<'a> Tx<'a> {
    pub(crate) const fn new(key_type: &'a str, wallet: &'a str, id: &'a str, message: &'a [u8]) -> Self {
        Self { key_type, wallet, network: "net", id, message, path: None }
    }

    pub(crate) const fn at(mut self, path: &'a [u32]) -> Self {
        self.path = Some(path);
        self
    }

    fn path(&self) -> String {
        self.path.map_or("null".to_owned(), |path| serde_json::to_string(path).unwrap())
    }

    pub(crate) fn signed(&self, form: Form, initiator: Signer<'_>, authorizers: &[(&str, Signer<'_>)]) -> String {
        let quoted = |text: &str| match form {
            Form::Stringified => Value::from(text).to_string(),
            Form::Legacy | Form::Complete => quoted(text),
        };
        let mut members = vec![
            ("key_type", quoted(self.key_type)),
            ("wallet_id", quoted(self.wallet)),
            ("network_internal_code", quoted(self.network)),
            ("tx_id", quoted(self.id)),
            ("tx", base64(self.message)),
        ];
        let legacy = object(&members);
        let path = ("derivation_path", self.path());
        let raw = match form {
            Form::Legacy | Form::Stringified => legacy,
            Form::Complete => object(&[&members[..], std::slice::from_ref(&path)].concat()),
        };
        let signature = initiator.sign_request(raw.as_bytes()).unwrap();
        members.extend([("signature", base64(&signature)), path]);
        if let Some(list) = approvals(self.id, &raw, &signature, authorizers) {
            members.push(("authorizer_signatures", list));
        }
        object(&members)
    }
}

impl Wire {
    /// Connects, and leaves the streams to others. With an id, its results are its own.
    pub(crate) async fn connect(url: &str, id: Option<&str>) -> Self {
        let context = jetstream::new(async_nats::connect(url).await.unwrap());
        Self { context, id: id.map(str::to_owned) }
    }

    /// Makes or updates the streams as the client in Go does when it starts.
    pub(crate) async fn make_streams(&self) {
        let week = Duration::from_secs(7 * 24 * 3600);
        for (name, subjects, retention, max_age) in [
            ("mpc-keygen", vec!["mpc.keygen_request.*"], stream::RetentionPolicy::Limits, week),
            ("mpc-signing", vec!["mpc.signing_request.*"], stream::RetentionPolicy::Limits, week),
            (
                "mpc",
                vec!["mpc.mpc_keygen_result.>", "mpc.mpc_signing_result.>", "mpc.mpc_reshare_result.>"],
                stream::RetentionPolicy::WorkQueue,
                Duration::ZERO,
            ),
        ] {
            let config = stream::Config {
                name: name.to_owned(),
                description: Some(format!("Stream for {name}")),
                subjects: subjects.into_iter().map(str::to_owned).collect(),
                retention,
                max_age,
                max_bytes: 100_000_000,
                ..stream::Config::default()
            };
            self.context.create_or_update_stream(config).await.unwrap();
        }
    }

    /// Publishes into a stream, and returns when it is there.
    pub(crate) async fn publish(&self, subject: &str, body: impl Into<Vec<u8>>) {
        let mut headers = HeaderMap::new();
        if let Some(id) = &self.id {
            headers.insert("ClientID", id.as_str());
        }
        let sent = self.context.publish_with_headers(subject.to_owned(), headers, body.into().into()).await;
        sent.unwrap().await.unwrap();
    }

    /// Publishes into a stream that may go away meanwhile. Says whether the server has taken it.
    pub(crate) async fn try_publish(&self, subject: &str, body: impl Into<Vec<u8>>) -> bool {
        match self.context.publish(subject.to_owned(), body.into().into()).await {
            Ok(sent) => sent.await.is_ok(),
            Err(_) => false,
        }
    }

    /// Asks for a wallet as the client in Go does: the subject's last token is a literal asterisk.
    pub(crate) async fn ask_wallet(&self, body: impl Into<Vec<u8>>) {
        self.publish("mpc.keygen_request.*", body).await;
    }

    /// Asks for a signature likewise.
    pub(crate) async fn ask_signature(&self, body: impl Into<Vec<u8>>) {
        self.publish("mpc.signing_request.*", body).await;
    }

    /// Asks for a reshare: published to all nodes, and kept by nobody.
    pub(crate) async fn ask_reshare(&self, body: String) {
        let client = self.context.client();
        client.publish("mpc:reshare", body.into()).await.unwrap();
        client.flush().await.unwrap();
    }

    pub(crate) async fn reshares(&self) -> Inbox {
        self.inbox("mpc_reshare_result", "mpc.mpc_reshare_result").await
    }

    pub(crate) async fn wallets(&self) -> Inbox {
        self.inbox("mpc_keygen_result", "mpc.mpc_keygen_result").await
    }

    pub(crate) async fn signatures(&self) -> Inbox {
        self.inbox("mpc_signing_result", "mpc.mpc_signing_result").await
    }

    async fn inbox(&self, durable: &str, prefix: &str) -> Inbox {
        let (durable, filter) = match &self.id {
            None => (durable.to_owned(), format!("{prefix}.*")),
            Some(id) => (format!("{durable}_{id}"), format!("{prefix}.{id}.*")),
        };
        let config = pull::Config {
            durable_name: Some(durable.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_deliver: 3,
            filter_subject: filter,
            ..pull::Config::default()
        };
        let stream = self.context.get_stream("mpc").await.unwrap();
        Inbox { consumer: stream.get_or_create_consumer(&durable, config).await.unwrap() }
    }

    /// How many requests wait for an answer, and how many were delivered more than once.
    pub(crate) async fn unanswered(&self, stream: &str, consumer: &str) -> Option<(u64, u64)> {
        let consumer: PullConsumer = self.context.get_consumer_from_stream(consumer, stream).await.ok()?;
        let info = consumer.cached_info();
        let waiting = info.num_pending + u64::try_from(info.num_ack_pending).unwrap();
        Some((waiting, info.delivered.consumer_sequence.saturating_sub(info.delivered.stream_sequence)))
    }

    /// Waits until no request of a stream waits for an answer any more. After that none can come.
    pub(crate) async fn all_answered(&self) {
        for (stream, consumer) in [("mpc-keygen", "mpc_keygen_consumer"), ("mpc-signing", "mpc_signing_consumer")] {
            until("all requests are answered", async || {
                let (waiting, _) = self.unanswered(stream, consumer).await?;
                (waiting == 0).then_some(())
            })
            .await;
        }
    }
}

/// The results of a client.
pub(crate) struct Inbox {
    consumer: Consumer<pull::Config>,
}

impl Inbox {
    /// The next results as they are, at least one, each acknowledged.
    async fn fetch(&self) -> Vec<async_nats::Message> {
        until("a result comes", async || {
            let found = self.ready().await;
            (!found.is_empty()).then_some(found)
        })
        .await
    }

    /// The results that are there now, or come in a moment.
    pub(crate) async fn ready(&self) -> Vec<async_nats::Message> {
        let Ok(mut batch) = self.consumer.fetch().max_messages(256).expires(FETCH).messages().await else {
            return Vec::new();
        };
        let mut found = Vec::new();
        while let Some(Ok(message)) = batch.next().await {
            message.double_ack().await.unwrap();
            found.push(message.message);
        }
        found
    }

    /// The next result, which is the only one.
    pub(crate) async fn one(&self) -> Value {
        serde_json::from_slice(&self.one_message().await.payload).unwrap()
    }

    pub(crate) async fn one_message(&self) -> async_nats::Message {
        let mut found = self.fetch().await;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// As many results as that, by the member that names their request.
    pub(crate) async fn take(&self, count: usize, named_by: &str) -> BTreeMap<String, Vec<Value>> {
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut missing = count;
        while missing > 0 {
            for message in self.fetch().await {
                let event: Value = serde_json::from_slice(&message.payload).unwrap();
                let name = event[named_by].as_str().unwrap().to_owned();
                found.entry(name).or_default().push(event);
                missing = missing.saturating_sub(1);
            }
        }
        found
    }

    /// Waits until all requests are answered, then makes sure that there is nothing more to fetch.
    pub(crate) async fn assert_empty(&self, wire: &Wire) {
        wire.all_answered().await;
        let more = self.ready().await;
        assert!(more.is_empty(), "{more:?}");
    }
}

/// The code of an event that tells of an error, or "" of a success.
pub(crate) fn code(event: &Value) -> &str {
    let code = event["error_code"].as_str().unwrap();
    let expected = if code.is_empty() { "success" } else { "error" };
    assert_eq!(event["result_type"], expected, "{event}");
    code
}
