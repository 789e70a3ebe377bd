//! A cluster that asks for complete signatures of a P-256 key and for approvals, in streams that others have made.

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use quorate::identity::{Algorithm, RequestKey};
use quorate::testing::NatsServer;

use crate::client::{Form, Signer, Tx, Wire, code, keygen};
use crate::cluster::{Cluster, Files};
use crate::verify::{assert_ecdsa_event, assert_eddsa, bytes, ecdsa_child, ecdsa_key};

const DIGEST: [u8; 32] = [0x6d; 32];

#[tokio::test(flavor = "multi_thread")]
async fn requests__should_be_signed_completely_and_approved() {
    let server = NatsServer::start().await.unwrap();
    let client = Wire::connect(&server.url(), None).await;
    // As the client in TypeScript makes them: with no more than it needs.
    let made = [
        ("mpc-keygen", "mpc.keygen_request.*"),
        ("mpc-signing", "mpc.signing_request.*"),
        ("mpc", "mpc.mpc_signing_result.>"),
    ];
    let mut created = Vec::new();
    for (name, subject) in made {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            max_messages: 5000,
            ..Config::default()
        };
        created.push(client.context.create_stream(config).await.unwrap().cached_info().created);
    }
    let (alice, bob) =
        (RequestKey::generate(Algorithm::Ed25519).unwrap(), RequestKey::generate(Algorithm::P256).unwrap());
    let files = Files::new(Algorithm::P256);
    let policy = format!(
        "[policy]\nrequired_authorizers = [\"alice\"]\n[policy.authorizers.alice]\npublic_key = \"{}\"\n\
         [policy.authorizers.bob]\nalgorithm = \"p256\"\npublic_key = \"{}\"\n",
        alice.public(),
        bob.public()
    );
    // Requests that came before there was a node wait for one.
    let initiator: Signer<'_> = &files.initiator;
    client.ask_wallet(keygen("early", initiator, &[("alice", &alice)])).await;
    let cluster = Cluster::of_ours(server, files, &policy).await;
    let initiator: Signer<'_> = &cluster.files.initiator;
    let (wallets, signatures) = (client.wallets().await, client.signatures().await);
    let event = wallets.one().await;
    assert_eq!((code(&event), &event["wallet_id"]), ("", &"early".into()), "{event}");
    let (ecdsa, eddsa) = (ecdsa_key(&bytes(&event, "ecdsa_pub_key")), bytes(&event, "eddsa_pub_key"));

    let (missing, invalid) = ("ERROR_MISSING_AUTHORIZER_SIGNATURE", "ERROR_INVALID_AUTHORIZER_SIGNATURE");
    let cases: [(&[(&str, Signer<'_>)], &str); 6] = [
        (&[], missing),
        (&[("bob", &bob)], missing),
        (&[("alice", &bob)], invalid),
        (&[("alice", &alice), ("bob", &alice)], invalid),
        (&[("alice", &alice)], ""),
        (&[("bob", &bob), ("alice", &alice)], ""),
    ];
    for (number, (approvals, expected)) in cases.into_iter().enumerate() {
        let name = format!("w{number}");
        client.ask_wallet(keygen(&name, initiator, approvals)).await;
        let event = wallets.one().await;
        assert_eq!((code(&event), event["wallet_id"].as_str()), (expected, Some(name.as_str())), "{event}");
        let tx = Tx::new("ed25519", "early", &name, b"approved").signed(Form::Complete, initiator, approvals);
        client.ask_signature(tx).await;
        let event = signatures.one().await;
        assert_eq!(code(&event), expected, "{event}");
        if expected.is_empty() {
            assert_eddsa(&eddsa, b"approved", &bytes(&event, "signature"));
        }
    }

    // Without the path in it, a signature is good for nothing here, not even where the path is empty.
    for path in [Some(&[1, 2][..]), None] {
        for form in [Form::Legacy, Form::Complete] {
            let tx = Tx { path, ..Tx::new("secp256k1", "early", "child", &DIGEST) };
            let tx = Tx { id: if path.is_some() { "child" } else { "own" }, ..tx };
            client.ask_signature(tx.signed(form, initiator, &[("alice", &alice)])).await;
            let event = signatures.one().await;
            if form == Form::Legacy {
                assert_eq!(code(&event), "ERROR_INVALID_INITIATOR_SIGNATURE", "{event}");
            } else {
                assert_ecdsa_event(&event, &ecdsa_child(ecdsa, path.unwrap_or_default()), &DIGEST);
            }
        }
    }

    wallets.assert_empty(&client).await;
    signatures.assert_empty(&client).await;
    for ((name, subject), created) in made.into_iter().zip(created) {
        let stream = client.context.get_stream(name).await.unwrap();
        let info = stream.cached_info();
        assert_eq!(info.created, created, "{name} is the one that was there");
        assert_eq!((info.config.retention, info.config.max_messages), (RetentionPolicy::WorkQueue, 5000));
        assert!(info.config.subjects.iter().any(|there| there == subject));
        assert_eq!(info.state.messages, 0, "{name}");
    }
    let mut results = client.context.get_stream("mpc").await.unwrap().cached_info().config.subjects.clone();
    results.sort();
    assert_eq!(results, ["mpc.mpc_keygen_result.>", "mpc.mpc_reshare_result.>", "mpc.mpc_signing_result.>"]);
    cluster.stop().await;
}
