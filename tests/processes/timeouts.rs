//! A node whose peers do not go on, and that is full.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use quorate::client::{ClientError, SignRequest};
use quorate::error::Code;
use quorate::identity::Algorithm;
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use rustix::process::Signal;
use serde_json::Value;

use crate::client::{Form, Inbox, Signer, Tx, Wire, code, keygen};
use crate::cluster::{Cluster, Files};
use crate::until;
use crate::verify::{assert_eddsa, bytes};

/// Peers count as there for much longer than requests may take; those may take longer than a node hides from clients
/// that it cannot find its peers.
const PATIENT: &str = "[link]\nheartbeat_misses = 60\n[discovery]\nlease_ttl_ms = 120000\n\
    [keygen]\ndeadline_ms = 11000\n[signing]\ndeadline_ms = 11000\nmax_concurrent = 2\n\
    [policy]\nallow_legacy_path = true\n";
/// How long a direct request is waited for that need not be answered.
const GLANCE: Duration = Duration::from_millis(200);
const MESSAGE: &[u8] = b"late";

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_result_in_time__should_be_told_so_and_may_be_sent_again() {
    let server = NatsServer::start().await.unwrap();
    let client = Wire::connect(&server.url(), None).await;
    client.make_streams().await;
    // A consumer that is there is used as it is.
    let config = pull::Config {
        durable_name: Some("mpc_signing_consumer".to_owned()),
        ack_policy: AckPolicy::Explicit,
        filter_subject: "mpc.signing_request.*".to_owned(),
        max_deliver: 3,
        ..pull::Config::default()
    };
    client.context.get_stream("mpc-signing").await.unwrap().create_consumer(config).await.unwrap();
    let files = Files::new(Algorithm::Ed25519);
    files.configure(&server.url(), PATIENT);
    // Only the first node takes requests from the streams.
    let text = std::fs::read_to_string(files.path().join("quorate.toml")).unwrap();
    for (number, (name, _)) in files.peers.nodes().iter().enumerate() {
        files.write(&format!("{name}.toml"), &format!("{text}[gateway]\nmpcium = {}\n", number == 0));
    }
    let cluster = Cluster::start(server, files, "tested", &["-c", "{node}.toml"]).await;
    let initiator: Signer<'_> = &cluster.files.initiator;
    let (wallets, signatures) = (client.wallets().await, client.signatures().await);
    client.ask_wallet(keygen("w", initiator, &[])).await;
    let key = bytes(&wallets.one().await, "eddsa_pub_key");
    let [first, peers @ ..] = [0, 1, 2].map(|number| cluster.nodes[number].as_ref().unwrap());
    let ask = async |id: &str| {
        let tx = Tx::new("ed25519", "w", id, MESSAGE).signed(Form::Legacy, initiator, &[]);
        client.ask_signature(tx).await;
    };

    // Its peers stop in the middle of their work, and it does not hear of it.
    peers.iter().for_each(|peer| peer.signal(Signal::STOP));
    ask("late").await;
    client.ask_wallet(keygen("late", initiator, &[])).await;
    for running in [r#"{kind="signing"} 1"#, r#"{kind="keygen"} 1"#] {
        let line = format!("quorate_sessions_running{running}\n");
        until("it is at work", async || first.metrics().await.contains(&line).then_some(())).await;
    }
    // Others fill it up: what comes then is given back, and up when that has happened too often.
    let direct = cluster.client.clone().with_limit(GLANCE);
    let mut number = 0;
    until("it is full", async || {
        number += 1;
        let id = format!("other-{number}").parse().unwrap();
        let request = SignRequest::builder(Scheme::Ed25519, "w".parse().unwrap(), id, MESSAGE);
        let answer = direct.sign(&request.sign_with(&cluster.files.initiator).unwrap()).await;
        matches!(answer, Err(ClientError::Refused(failure)) if failure.code == Code::ConcurrencyLimit).then_some(())
    })
    .await;
    ask("crowded").await;
    assert_timeout(&signatures.one().await, "crowded", "ERROR_MAX_DELIVERY_ATTEMPTS");
    assert_timeout(&signatures.one().await, "late", "ERROR_SESSION_TIMEOUT");
    let event = wallets.one().await;
    assert_eq!((code(&event), &event["wallet_id"]), ("ERROR_SESSION_TIMEOUT", &"late".into()));

    // What was not in time may be asked for again.
    peers.iter().for_each(|peer| peer.signal(Signal::CONT));
    for id in ["late", "crowded"] {
        let event = again(&signatures, async || ask(id).await).await;
        assert_eddsa(&key, MESSAGE, &bytes(&event, "signature"));
    }
    again(&wallets, async || client.ask_wallet(keygen("late", initiator, &[])).await).await;
    cluster.stop().await;
}

/// Asks until there is no error: what others asked for meanwhile is done first.
async fn again(inbox: &Inbox, ask: impl AsyncFn()) -> Value {
    until("it succeeds", async || {
        ask().await;
        let event = inbox.one().await;
        code(&event).is_empty().then_some(event)
    })
    .await
}

fn assert_timeout(event: &Value, id: &str, expected: &str) {
    assert_eq!((code(event), &event["tx_id"], &event["is_timeout"]), (expected, &id.into(), &true.into()), "{event}");
}
