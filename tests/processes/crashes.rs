//! Whatever is killed, each request is answered once.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use bitcoin::secp256k1;
use quorate::identity::Algorithm;
use quorate::testing::NatsServer;
use serde_json::Value;

use crate::client::{Form, Signer, Tx, Wire, code, keygen};
use crate::cluster::{Cluster, Files};
use crate::until;
use crate::verify::{assert_ecdsa_event, assert_eddsa, bytes, ecdsa_key};

const DIGEST: [u8; 32] = [0xc4; 32];

#[tokio::test(flavor = "multi_thread")]
async fn requests__should_be_answered_once_whatever_is_killed() {
    let server = NatsServer::start().await.unwrap();
    let client = Wire::connect(&server.url(), None).await;
    client.make_streams().await;
    // Requests of a node that dies come back soon. A consumer that is there is used as it is.
    let config = pull::Config {
        durable_name: Some("mpc_signing_consumer".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(2),
        filter_subject: "mpc.signing_request.*".to_owned(),
        max_ack_pending: 1000,
        ..pull::Config::default()
    };
    let requests = client.context.get_stream("mpc-signing").await.unwrap();
    requests.create_consumer(config).await.unwrap();
    let cluster =
        Cluster::of_ours(server, Files::new(Algorithm::Ed25519), "[policy]\nallow_legacy_path = true\n").await;
    client.ask_wallet(keygen("w", &cluster.files.initiator, &[])).await;
    let wallet = client.wallets().await.one().await;
    let keys = Keys { ecdsa: ecdsa_key(&bytes(&wallet, "ecdsa_pub_key")), eddsa: bytes(&wallet, "eddsa_pub_key") };
    let mut stage = Stage { cluster, client, keys };
    stage.loses_a_coordinator().await;
    stage.loses_the_broker().await;
    stage.loses_the_broker_and_its_data().await;
    stage.cluster.stop().await;
}

struct Stage {
    cluster: Cluster,
    client: Wire,
    keys: Keys,
}

struct Keys {
    ecdsa: secp256k1::PublicKey,
    eddsa: Vec<u8>,
}

impl Keys {
    /// Whether there is a signature, which then verifies.
    fn verify(&self, event: &Value) -> bool {
        if !code(event).is_empty() {
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

impl Stage {
    async fn ask(&self, id: &str, number: usize) {
        let initiator: Signer<'_> = &self.cluster.files.initiator;
        let key_type = if number.is_multiple_of(4) { "ed25519" } else { "secp256k1" };
        let tx = Tx::new(key_type, "w", id, &DIGEST);
        self.client.ask_signature(tx.signed(Form::Legacy, initiator, &[])).await;
    }

    async fn ask_many(&self, name: &str, count: usize) {
        let ids: Vec<String> = (0..count).map(|number| format!("{name}-{number}")).collect();
        let asking = ids.iter().enumerate().map(|(number, id)| self.ask(id, number));
        futures_util::future::join_all(asking).await;
    }

    /// Waits until some results are in their stream. They stay there.
    async fn until_some_are_answered(&self, count: u64) {
        until("some are answered", async || {
            let stream = self.client.context.get_stream("mpc").await.unwrap();
            (stream.cached_info().state.messages >= count).then_some(())
        })
        .await;
    }

    /// Waits until all are answered; then each has one answer, and those without a signature get one now.
    async fn assert_answered_once(&self, name: &str, count: usize) {
        self.client.all_answered().await;
        let signatures = self.client.signatures().await;
        let events = signatures.take(count, "tx_id").await;
        assert_eq!(events.len(), count);
        let (mut failed, mut codes) = (BTreeMap::new(), BTreeMap::<String, usize>::new());
        for number in 0..count {
            let id = format!("{name}-{number}");
            let answers = &events[&id];
            assert_eq!(answers.len(), 1, "{answers:?}");
            if !self.keys.verify(&answers[0]) {
                let code = code(&answers[0]);
                let typed = ["ERROR_PEER_UNAVAILABLE", "ERROR_NOT_MAJORITY", "ERROR_SESSION_TIMEOUT"];
                assert!(typed.contains(&code), "{}", answers[0]);
                *codes.entry(code.to_owned()).or_default() += 1;
                failed.insert(id, number);
            }
        }
        println!("{name}: {} of {count} failed: {codes:?}", failed.len());
        assert!(failed.len() < count, "{failed:?}");
        self.cluster.until_complete().await;
        for (id, number) in &failed {
            self.ask(id, *number).await;
        }
        for answers in signatures.take(failed.len(), "tx_id").await.values() {
            assert!(answers.len() == 1 && self.keys.verify(&answers[0]), "{answers:?}");
        }
        signatures.assert_empty(&self.client).await;
    }

    async fn loses_a_coordinator(&mut self) {
        const COUNT: usize = 60;
        self.ask_many("killed", COUNT).await;
        self.until_some_are_answered(4).await;
        self.cluster.kill_node(0).await;
        until("requests of the dead node come again", async || {
            let (_, again) = self.client.unanswered("mpc-signing", "mpc_signing_consumer").await?;
            (again > 0).then_some(())
        })
        .await;
        self.cluster.start_node(0).await;
        self.assert_answered_once("killed", COUNT).await;
    }

    async fn loses_the_broker(&mut self) {
        const COUNT: usize = 40;
        self.ask_many("broker", COUNT).await;
        self.until_some_are_answered(4).await;
        self.cluster.server.restart(true).await.unwrap();
        self.assert_answered_once("broker", COUNT).await;
    }

    /// The streams are gone with it, and made again.
    async fn loses_the_broker_and_its_data(&mut self) {
        self.cluster.server.restart(false).await.unwrap();
        self.cluster.until_complete().await;
        until("there are streams again", async || {
            let there = ["mpc", "mpc-signing", "mpc-keygen"].map(|name| self.client.context.get_stream(name));
            futures_util::future::join_all(there).await.iter().all(Result::is_ok).then_some(())
        })
        .await;
        self.ask_many("empty", 8).await;
        self.client.all_answered().await;
        let events = self.client.signatures().await.take(8, "tx_id").await;
        assert!(events.values().all(|answers| answers.len() == 1 && self.keys.verify(&answers[0])), "{events:?}");
    }
}
