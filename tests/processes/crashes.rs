//! Whatever is killed while clients fetch their results, each request that the server has taken ends in one way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Context};
use bitcoin::secp256k1;
use futures_util::StreamExt;
use futures_util::future::join_all;
use quorate::client::{Client, ClientError, KeygenRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::Algorithm;
use quorate::testing::NatsServer;
use quorate::wire::native::Health;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{Form, Signer, Tx, Wire, code, keygen};
use crate::cluster::{Cluster, Files};
use crate::verify::{assert_ecdsa_event, assert_eddsa, bytes, ecdsa_key};
use crate::{LOOK_AGAIN, soon, until};

const DIGEST: [u8; 32] = [0xc4; 32];
/// How long one look for results takes at most.
const FETCH: Duration = Duration::from_millis(300);
/// What a client may be told where nodes or the broker are lost. That is noticed: nobody waits for a deadline.
const TYPED: [&str; 3] = ["ERROR_PEER_UNAVAILABLE", "ERROR_NOT_MAJORITY", "ERROR_CLUSTER_NOT_READY"];

#[tokio::test(flavor = "multi_thread")]
async fn requests__should_end_in_one_way_whatever_is_killed() {
    let server = NatsServer::start().await.unwrap();
    let client = Wire::connect(&server.url(), None).await;
    client.make_streams().await;
    // Requests of a node that dies come back soon. A consumer that is there is used as it is.
    for (stream, consumer, subjects) in [
        ("mpc-signing", "mpc_signing_consumer", "mpc.signing_request.*"),
        ("mpc-keygen", "mpc_keygen_consumer", "mpc.keygen_request.*"),
    ] {
        let config = pull::Config {
            durable_name: Some(consumer.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(2),
            filter_subject: subjects.to_owned(),
            max_ack_pending: 1000,
            ..pull::Config::default()
        };
        client.context.get_stream(stream).await.unwrap().create_consumer(config).await.unwrap();
    }
    let files = Files::new(Algorithm::Ed25519);
    wear_out(&client, &files.initiator).await;
    let cluster = Cluster::of_ours(server, files, "[policy]\nallow_legacy_path = true\n").await;
    let worn = client.signatures().await.one().await;
    assert_eq!((code(&worn), &worn["tx_id"]), ("ERROR_MAX_DELIVERY_ATTEMPTS", &"worn".into()), "{worn}");
    assert_eq!(worn["is_timeout"], true);
    client.ask_wallet(keygen("w", &cluster.files.initiator, &[])).await;
    let wallet = client.wallets().await.one().await;
    let keys = Keys { ecdsa: ecdsa_key(&bytes(&wallet, "ecdsa_pub_key")), eddsa: bytes(&wallet, "eddsa_pub_key") };
    let results = Results::collect(&cluster.server.url(), &client).await;
    let mut stage = Stage { cluster, client, keys, results };
    stage.outlives_the_patience_for_nodes_that_start().await;
    stage.loses_a_coordinator().await;
    for number in 0..2 {
        stage.loses_the_broker(&format!("broker{number}")).await;
    }
    stage.loses_the_broker_and_its_data().await;
    stage.cluster.stop().await;
}

/// Has a request delivered so often that the next node to get it may think that it ends those who work on it.
async fn wear_out(client: &Wire, initiator: Signer<'_>) {
    const DELIVERIES: usize = 20;
    client.ask_signature(Tx::new("ed25519", "w", "worn", &DIGEST).signed(Form::Legacy, initiator, &[])).await;
    let consumer: PullConsumer =
        client.context.get_consumer_from_stream("mpc_signing_consumer", "mpc-signing").await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    for _ in 0..DELIVERIES {
        let message = soon("it is delivered", messages.next()).await.unwrap().unwrap();
        message.ack_with(AckKind::Nak(None)).await.unwrap();
    }
}

struct Keys {
    ecdsa: secp256k1::PublicKey,
    eddsa: Vec<u8>,
}

impl Keys {
    /// Whether there is a signature, which then verifies. Without one there is a reason.
    fn verify(&self, event: &Value) -> bool {
        let code = code(event);
        if !code.is_empty() {
            assert!(TYPED.contains(&code), "{event}");
            return false;
        }
        if event["signature"].is_null() {
            assert_ecdsa_event(event, &self.ecdsa, &DIGEST);
        } else {
            assert_eddsa(&self.eddsa, &DIGEST, &bytes(event, "signature"));
        }
        true
    }
}

/// What a client has fetched of the results for a request.
#[derive(Debug, Default)]
struct Answers {
    /// Each result, by what it says, with the messages that said it: their time in the server's clock.
    events: BTreeMap<String, BTreeSet<i128>>,
}

/// All results, fetched as they come, also while the server goes away and comes back.
struct Results {
    fetched: Arc<Mutex<BTreeMap<String, Answers>>>,
    _tasks: JoinSet<()>,
}

impl Results {
    async fn collect(url: &str, client: &Wire) -> Self {
        // The consumers are the contract's.
        client.signatures().await;
        client.wallets().await;
        let context = jetstream::new(async_nats::connect(url).await.unwrap());
        let fetched = Arc::new(Mutex::default());
        let mut tasks = JoinSet::new();
        for (consumer, named_by) in [("mpc_signing_result", "tx_id"), ("mpc_keygen_result", "wallet_id")] {
            let (context, fetched) = (context.clone(), Arc::clone(&fetched));
            tasks.spawn(async move {
                loop {
                    fetch(&context, consumer, named_by, &fetched).await;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            });
        }
        Self { fetched, _tasks: tasks }
    }

    fn count(&self, name: &str) -> usize {
        self.fetched.lock().unwrap().keys().filter(|id| id.starts_with(name)).count()
    }

    /// The one way in which a request has ended: the result, and how many messages it was in.
    fn of(&self, id: &str) -> (Value, usize) {
        let fetched = self.fetched.lock().unwrap();
        let answers = &fetched.get(id).unwrap_or_else(|| panic!("no answer to {id}")).events;
        assert_eq!(answers.len(), 1, "{id}: {answers:?}");
        let (event, messages) = answers.first_key_value().unwrap();
        (serde_json::from_str(event).unwrap(), messages.len())
    }

    /// All requests that have ended.
    fn ids(&self) -> Vec<String> {
        self.fetched.lock().unwrap().keys().cloned().collect()
    }
}

/// Fetches until that fails.
async fn fetch(context: &Context, consumer: &str, named_by: &str, fetched: &Mutex<BTreeMap<String, Answers>>) {
    let Ok(consumer) = context.get_consumer_from_stream::<pull::Config, _, _>(consumer, "mpc").await else { return };
    while let Ok(mut batch) = consumer.fetch().max_messages(16).expires(FETCH).messages().await {
        while let Some(Ok(message)) = batch.next().await {
            keep(&message, named_by, &mut fetched.lock().unwrap());
            // One whose acknowledgement is lost comes again.
            let _ = message.ack().await;
        }
    }
}

fn keep(message: &jetstream::Message, named_by: &str, fetched: &mut BTreeMap<String, Answers>) {
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    let id = event[named_by].as_str().unwrap().to_owned();
    let text = String::from_utf8(message.payload.to_vec()).unwrap();
    let when = message.info().unwrap().published.unix_timestamp_nanos();
    fetched.entry(id).or_default().events.entry(text).or_default().insert(when);
}

struct Stage {
    cluster: Cluster,
    client: Wire,
    keys: Keys,
    results: Results,
}

/// The requests of a stage that the server has taken.
#[derive(Default)]
struct Accepted {
    signatures: Vec<(String, &'static str)>,
    wallets: Vec<String>,
}

impl Accepted {
    fn add(&mut self, more: Self) {
        self.signatures.extend(more.signatures);
        self.wallets.extend(more.wallets);
    }

    fn ids(&self) -> impl Iterator<Item = &String> {
        self.signatures.iter().map(|(id, _)| id).chain(&self.wallets)
    }
}

impl Stage {
    /// Asks for signatures and wallets at once. Those that the server does not take are not counted.
    async fn ask(&self, name: &str, signatures: usize, wallets: usize) -> Accepted {
        let initiator = &self.cluster.files.initiator;
        let signing = (0..signatures).map(async |number| {
            let key_type = if number.is_multiple_of(4) { "ed25519" } else { "secp256k1" };
            let id = format!("{name}-{number}");
            let tx = Tx::new(key_type, "w", &id, &DIGEST).signed(Form::Legacy, initiator, &[]);
            self.client.try_publish("mpc.signing_request.*", tx).await.then_some((id, key_type))
        });
        let making = (0..wallets).map(async |number| {
            let id = format!("{name}-w{number}");
            let body = keygen(&id, initiator, &[]);
            self.client.try_publish("mpc.keygen_request.*", body).await.then_some(id)
        });
        let (signatures, wallets) = tokio::join!(join_all(signing), join_all(making));
        Accepted {
            signatures: signatures.into_iter().flatten().collect(),
            wallets: wallets.into_iter().flatten().collect(),
        }
    }

    async fn until_some_are_answered(&self, name: &str) {
        until("some are answered", async || (self.results.count(name) >= 4).then_some(())).await;
    }

    /// Waits until all requests are answered and all results are fetched. Nothing comes after that.
    async fn until_all_is_fetched(&self) {
        self.client.all_answered().await;
        for consumer in ["mpc_signing_result", "mpc_keygen_result"] {
            until("all results are fetched", async || {
                let (waiting, _) = self.client.unanswered("mpc", consumer).await?;
                (waiting == 0).then_some(())
            })
            .await;
        }
    }

    /// Each has ended in one way, with a signature, with a wallet, or with a reason; and those without one get it now, at
    /// once, from nodes that wait for nothing. Gives how many messages each result was at most.
    async fn assert_ended_in_one_way(&self, name: &str, accepted: &Accepted) -> usize {
        self.until_all_is_fetched().await;
        // Also those whose acceptance was not heard of.
        self.results.ids().iter().for_each(|id| drop(self.results.of(id)));
        let mut failed = BTreeMap::<String, usize>::new();
        let mut fail = |event: &Value| *failed.entry(code(event).to_owned()).or_default() += 1;
        let ends: BTreeMap<&String, (Value, usize)> = accepted.ids().map(|id| (id, self.results.of(id))).collect();
        self.cluster.until_complete().await;
        let client = &self.cluster.client;
        for (id, key_type) in &accepted.signatures {
            let (event, _) = &ends[id];
            if self.keys.verify(event) {
                continue;
            }
            fail(event);
            self.signed_directly(client, id, key_type).await;
        }
        for id in &accepted.wallets {
            let event = &ends[id].0;
            let made = match code(event) {
                "" => client.wallet(id.parse().unwrap()).await.unwrap(),
                failure => {
                    assert!(TYPED.contains(&failure), "{event}");
                    fail(event);
                    self.made_directly(client, id).await;
                    continue;
                }
            };
            let key =
                hex::decode(&made.keys.iter().find(|key| key.public_key.len() == 64).unwrap().public_key).unwrap();
            assert_eq!(bytes(event, "eddsa_pub_key"), key, "{id}");
        }
        println!("{name}: of {} failed: {failed:?}", accepted.ids().count());
        assert!(failed.values().sum::<usize>() < accepted.ids().count());
        ends.values().map(|(_, messages)| *messages).max().unwrap()
    }

    async fn signed_directly(&self, client: &Client, id: &str, key_type: &str) {
        let request =
            SignRequest::builder(key_type.parse().unwrap(), "w".parse().unwrap(), id.parse().unwrap(), &DIGEST);
        let request = request.network_code("net").sign_with(&self.cluster.files.initiator).unwrap();
        let signed = client.sign(&request).await.unwrap();
        let signature = hex::decode(&signed.signature).unwrap();
        match signed.recovery {
            Some(recovery) => crate::verify::assert_ecdsa(&self.keys.ecdsa, &DIGEST, &signature, recovery),
            None => assert_eddsa(&self.keys.eddsa, &DIGEST, &signature),
        }
    }

    async fn made_directly(&self, client: &Client, id: &str) {
        let request = KeygenRequest::builder(id.parse().unwrap()).sign_with(&self.cluster.files.initiator).unwrap();
        until("what was left of the wallet is settled", async || match client.keygen(&request).await {
            Ok(_) => Some(()),
            Err(ClientError::Refused(failure)) => {
                assert_eq!(failure.code, Code::SessionDuplicate, "{failure}");
                None
            }
            Err(error) => panic!("{error}"),
        })
        .await;
    }

    /// For a while after they start, nodes hide from clients that they cannot find their peers. That is over once they
    /// say so.
    async fn outlives_the_patience_for_nodes_that_start(&mut self) {
        const COUNT: usize = 8;
        self.cluster.kill_node(2).await;
        self.cluster.until("the others know", |node| node.health == Health::Enough).await;
        let accepted = self.ask("early", 0, COUNT).await;
        self.until_all_is_fetched().await;
        for id in accepted.ids() {
            let (event, messages) = self.results.of(id);
            assert_eq!((code(&event), messages), ("ERROR_CLUSTER_NOT_READY", 1));
        }
        self.cluster.start_node(2).await;
        self.cluster.until_complete().await;
    }

    async fn loses_a_coordinator(&mut self) {
        let accepted = self.ask("killed", 60, 6).await;
        self.until_some_are_answered("killed").await;
        self.cluster.kill_node(0).await;
        until("requests of the dead node come again", async || {
            let (_, again) = self.client.unanswered("mpc-signing", "mpc_signing_consumer").await?;
            (again > 0).then_some(())
        })
        .await;
        self.cluster.start_node(0).await;
        let most = self.assert_ended_in_one_way("killed", &accepted).await;
        assert_eq!(most, 1, "a result is published once, also where two nodes came to it");
    }

    /// The server forgets which results it had: one may come again, and says the same.
    async fn loses_the_broker(&mut self, name: &str) {
        let mut accepted = self.ask(name, 40, 10).await;
        self.until_some_are_answered(&format!("{name}-w")).await;
        self.cluster.server.restart(true).await.unwrap();
        // Some come while nodes are still looking for the server.
        accepted.add(self.ask(&format!("{name}-after"), 8, 2).await);
        let most = self.assert_ended_in_one_way(name, &accepted).await;
        println!("{name}: a result was in at most {most} messages");
    }

    /// The streams are gone with it, and made again.
    async fn loses_the_broker_and_its_data(&mut self) {
        self.cluster.server.restart(false).await.unwrap();
        self.cluster.until_complete().await;
        until("there are streams again", async || {
            let there = ["mpc", "mpc-signing", "mpc-keygen"].map(|name| self.client.context.get_stream(name));
            join_all(there).await.iter().all(Result::is_ok).then_some(())
        })
        .await;
        self.client.signatures().await;
        self.client.wallets().await;
        let accepted = self.ask("empty", 8, 2).await;
        assert_eq!(accepted.ids().count(), 10);
        self.assert_ended_in_one_way("empty", &accepted).await;
        for id in accepted.ids() {
            assert_eq!(code(&self.results.of(id).0), "");
        }
    }
}
