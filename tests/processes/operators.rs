//! A cluster on mpcium's own configuration, whose nodes go and come back.

use quorate::client::{ClientError, SignRequest};
use quorate::error::Code;
use quorate::identity::Algorithm;
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use quorate::wire::native::Health;
use rustix::process::Signal;
use serde_json::Value;

use crate::client::{Form, Signer, Tx, Wire, code, keygen};
use crate::cluster::{CHAIN_CODE, Cluster, Files};
use crate::verify::{assert_ecdsa_event, assert_eddsa, bytes, ecdsa_key};
use crate::{soon, until};

const DIGEST: [u8; 32] = [0x0e; 32];

#[tokio::test(flavor = "multi_thread")]
async fn nodes__should_do_without_one_and_stop_in_good_order() {
    let server = NatsServer::start().await.unwrap();
    let files = Files::new(Algorithm::Ed25519);
    files.write(
        "config.yaml",
        &format!(
            "nats:\n  url: nats://{}\nconsul:\n  address: localhost:8500\nmpc_threshold: 1\nenvironment: development\n\
             badger_password: \"F))ysJp?E]ol&I;^\"\nevent_initiator_pubkey: \"{}\"\n\
             event_initiator_algorithm: \"ed25519\"\nchain_code: \"{}\"\ndb_path: ./db\nbackup_enabled: false\n\
             max_concurrent_keygen: 2\nmax_concurrent_signing: 10\nhealthcheck:\n  enabled: false\n",
            server.url(),
            files.initiator.public(),
            hex::encode(CHAIN_CODE)
        ),
    );
    let mut cluster = Cluster::start(server, files, "quorate", &["--debug"]).await;
    let log = cluster.nodes[0].as_ref().unwrap().log();
    assert!(log.contains("mpc_threshold") && log.contains("consul"), "warnings are in the log: {log}");
    let client = Wire::connect(&cluster.server.url(), None).await;
    let (wallets, signatures) = (client.wallets().await, client.signatures().await);
    let (ecdsa, eddsa) = {
        let initiator: Signer<'_> = &cluster.files.initiator;
        client.ask_wallet(keygen("w", initiator, &[])).await;
        let event = wallets.one().await;
        (ecdsa_key(&bytes(&event, "ecdsa_pub_key")), bytes(&event, "eddsa_pub_key"))
    };
    let sign = async |cluster: &Cluster, key_type: &str, id: &str| -> Value {
        let tx = Tx::new(key_type, "w", id, &DIGEST).signed(Form::Legacy, &cluster.files.initiator, &[]);
        client.ask_signature(tx).await;
        signatures.one().await
    };

    // More requests than there is room for (10 at a time and node), and a node that is told to stop among them.
    let load = 60;
    let initiator: Signer<'_> = &cluster.files.initiator;
    let requests = (0..load).map(|number| {
        let key_type = if number % 2 == 0 { "secp256k1" } else { "ed25519" };
        let id = format!("load-{number}");
        client.ask_signature(Tx::new(key_type, "w", &id, &DIGEST).signed(Form::Legacy, initiator, &[]))
    });
    futures_util::future::join_all(requests).await;
    // And such as are answered directly.
    let direct = (0..20).map(|number| {
        let id = format!("direct-{number}").parse().unwrap();
        let request = SignRequest::builder(Scheme::Ed25519, "w".parse().unwrap(), id, &DIGEST);
        let (request, direct) = (request.sign_with(&cluster.files.initiator).unwrap(), cluster.client.clone());
        tokio::spawn(async move { direct.sign(&request).await })
    });
    let direct: Vec<_> = direct.collect();
    cluster.stop_node(2).await;
    for answer in direct {
        match soon("an answer", answer).await.unwrap() {
            Ok(signed) => assert_eddsa(&eddsa, &DIGEST, &hex::decode(signed.signature).unwrap()),
            Err(ClientError::Refused(failure)) => assert_eq!(failure.code, Code::ConcurrencyLimit, "{failure}"),
            Err(error) => panic!("{error}"),
        }
    }
    let events = signatures.take(load, "tx_id").await;
    assert_eq!(events.len(), load);
    for events in events.values() {
        assert_eq!(events.len(), 1, "{events:?}");
        match code(&events[0]) {
            "" if events[0]["signature"].is_null() => assert_ecdsa_event(&events[0], &ecdsa, &DIGEST),
            "" => assert_eddsa(&eddsa, &DIGEST, &bytes(&events[0], "signature")),
            other => panic!("{other}: {events:?}"),
        }
    }
    signatures.assert_empty(&client).await;

    // Two of three sign; three of three make a wallet.
    cluster.until("the others know", |node| node.health == Health::Enough).await;
    assert_ecdsa_event(&sign(&cluster, "secp256k1", "two-1").await, &ecdsa, &DIGEST);
    assert_eddsa(&eddsa, &DIGEST, &bytes(&sign(&cluster, "ed25519", "two-2").await, "signature"));
    client.ask_wallet(keygen("w2", &cluster.files.initiator, &[])).await;
    assert_eq!(code(&wallets.one().await), "ERROR_CLUSTER_NOT_READY");

    // One alone says so, at once.
    cluster.kill_node(1).await;
    cluster.until("the last one knows", |node| node.health == Health::TooFew).await;
    let asked = std::time::Instant::now();
    let event = sign(&cluster, "ed25519", "alone").await;
    assert_eq!((code(&event), &event["is_timeout"]), ("ERROR_NOT_MAJORITY", &false.into()));
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    client.ask_wallet(keygen("w3", &cluster.files.initiator, &[])).await;
    assert_eq!(code(&wallets.one().await), "ERROR_NOT_MAJORITY");

    // What failed may be asked for again when they are back.
    cluster.start_node(1).await;
    cluster.start_node(2).await;
    cluster.until_complete().await;
    assert_eddsa(&eddsa, &DIGEST, &bytes(&sign(&cluster, "ed25519", "alone").await, "signature"));
    client.ask_wallet(keygen("w2", &cluster.files.initiator, &[])).await;
    assert_eq!(code(&wallets.one().await), "");
    signatures.assert_empty(&client).await;

    // Told twice, a node does not wait for what it has begun: here for peers that do not go on.
    for number in [0, 1] {
        cluster.nodes[number].as_ref().unwrap().signal(Signal::STOP);
    }
    let hangs = Tx::new("secp256k1", "w", "hangs", &DIGEST).signed(Form::Legacy, &cluster.files.initiator, &[]);
    let stopping = cluster.nodes[2].as_mut().unwrap();
    for _ in 0..8 {
        client.ask_signature(hangs.clone()).await;
    }
    stopping.signal(Signal::TERM);
    until("it is told once", async || stopping.log().contains("a second signal stops at once").then_some(())).await;
    stopping.signal(Signal::TERM);
    assert_eq!(stopping.ended().await, 130);
    drop(cluster.nodes[2].take());
    for number in [0, 1] {
        cluster.nodes[number].as_ref().unwrap().signal(Signal::CONT);
    }
}
