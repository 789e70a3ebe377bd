//! A cluster that takes requests as mpcium's clients sign them.

use async_nats::jetstream::stream::DiscardPolicy;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate::client::{Client, KeygenRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::Scheme;
use quorate::keys::DerivationPath;
use quorate::testing::NatsServer;
use serde_json::Value;

use crate::client::{Form, Inbox, Signer, Tx, Wire, code, keygen, reshare};
use crate::cluster::{Cluster, Files};
use crate::node::quorate;
use crate::verify::{
    assert_ecdsa, assert_ecdsa_event, assert_eddsa, assert_taproot, bytes, ecdsa_child, ecdsa_key, eddsa_child,
};
use crate::{soon, until};

const DIGEST: [u8; 32] = [0xd1; 32];

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_be_served_as_the_contract_says() {
    let server = NatsServer::start().await.unwrap();
    let files = Files::new(Algorithm::Ed25519);
    let cluster = Cluster::of_ours(server, files, "[policy]\nallow_legacy_path = true\n").await;
    let go = Wire::connect(&cluster.server.url(), None).await;
    let stage = Stage {
        wallets: go.wallets().await,
        signatures: go.signatures().await,
        go,
        initiator: &cluster.files.initiator,
    };
    stage.makes_wallets().await;
    stage.signs().await;
    stage.answers_repeats().await;
    stage.reports_errors().await;
    stage.refuses_other_content().await;
    stage.reshares(&cluster).await;
    stage.repairs_streams_that_are_deleted().await;
    stage.waits_for_room_in_the_stream_of_results().await;
    two_clients(&cluster).await;
    native(&cluster.client, &cluster.files.initiator).await;
    commands(&cluster).await;
    stage.wallets.assert_empty(&stage.go).await;
    stage.signatures.assert_empty(&stage.go).await;
    cluster.stop().await;
}

/// A client without an id, as the one in TypeScript and older ones in Go.
struct Stage<'a> {
    go: Wire,
    wallets: Inbox,
    signatures: Inbox,
    initiator: &'a RequestKey,
}

impl Stage<'_> {
    fn signer(&self) -> Signer<'_> {
        self.initiator
    }

    async fn signature(&self, tx: &Tx<'_>, form: Form) -> Value {
        self.go.ask_signature(tx.signed(form, self.signer(), &[])).await;
        self.signatures.one().await
    }

    async fn wallet(&self, wallet: &str) -> Value {
        self.go.ask_wallet(keygen(wallet, self.signer(), &[])).await;
        self.wallets.one().await
    }

    async fn makes_wallets(&self) {
        self.go.ask_wallet(keygen("go", self.signer(), &[])).await;
        let message = self.wallets.one_message().await;
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let (ecdsa, eddsa) = (bytes(&event, "ecdsa_pub_key"), bytes(&event, "eddsa_pub_key"));
        ecdsa_key(&ecdsa);
        assert_eq!(eddsa.len(), 32);
        let expected = format!(
            r#"{{"wallet_id":"go","ecdsa_pub_key":"{}","eddsa_pub_key":"{}","result_type":"success","error_reason":"","error_code":""}}"#,
            STANDARD.encode(ecdsa),
            STANDARD.encode(eddsa)
        );
        assert_eq!(std::str::from_utf8(&message.payload).unwrap(), expected);
        assert_eq!(message.subject.as_str(), "mpc.mpc_keygen_result.go");
        let headers = message.headers.unwrap();
        let id = headers.get("Nats-Msg-Id").unwrap().as_str();
        assert!(id.starts_with("mpc.mpc_keygen_result.go"), "{id}");
        // The client in TypeScript: another subject, other members, another order.
        let signature =
            STANDARD.encode(quorate::wire::request::RequestSigner::sign_request(self.initiator, b"ts-1").unwrap());
        let body = format!(r#"{{ "signature": "{signature}", "wallet_id": "ts-1", "authorizer_signatures": null }}"#);
        self.go.publish("mpc.keygen_request.ts-1", body).await;
        assert_eq!(code(&self.wallets.one().await), "");
        assert_eq!(code(&self.wallet("go").await), "ERROR_KEY_ALREADY_EXISTS");
    }

    async fn reshares(&self, cluster: &Cluster) {
        let results = self.go.reshares().await;
        let made = self.wallet("resharing").await;
        let key = bytes(&made, "ecdsa_pub_key");
        let nodes: Vec<String> = cluster.files.peers.nodes().iter().map(|(_, id)| id.to_string()).collect();
        let all = reshare("r1", &nodes, 2, "secp256k1", "resharing", self.signer());
        self.go.ask_reshare(all.clone()).await;
        let message = results.one_message().await;
        let expected = format!(
            r#"{{"wallet_id":"resharing","new_threshold":2,"key_type":"secp256k1","pub_key":"{}","result_type":"success","error_reason":"","error_code":""}}"#,
            STANDARD.encode(&key)
        );
        assert_eq!(std::str::from_utf8(&message.payload).unwrap(), expected);
        assert_eq!(message.subject.as_str(), "mpc.mpc_reshare_result.r1");
        // A threshold of 2 means that all 3 sign.
        let tx = Tx::new("secp256k1", "resharing", "after", &DIGEST);
        assert_ecdsa_event(&self.signature(&tx, Form::Legacy).await, &ecdsa_key(&key), &DIGEST);
        let known = cluster.client.wallet("resharing".parse().unwrap()).await.unwrap();
        let of = |scheme| known.keys.iter().find(|key| key.key_type == scheme).unwrap();
        assert_eq!((of(Scheme::Ecdsa).threshold, of(Scheme::Ecdsa).generation), (3, 1));
        assert_eq!((of(Scheme::Ed25519).threshold, of(Scheme::Ed25519).generation), (2, 0));
        // Sent again, it is not done again.
        self.go.ask_reshare(all).await;
        let others: [(&str, String); 4] = [
            ("ERROR_INVALID_INITIATOR_SIGNATURE", {
                let stranger = RequestKey::generate(Algorithm::Ed25519).unwrap();
                reshare("r2", &nodes, 1, "ed25519", "resharing", &stranger)
            }),
            ("ERROR_MSG_VALIDATION", reshare("r3", &nodes, 3, "ed25519", "resharing", self.signer())),
            ("ERROR_KEY_NOT_FOUND", reshare("r4", &nodes, 1, "taproot", "resharing", self.signer())),
            ("ERROR_UNMARSHAL_FAILURE", "{".to_owned()),
        ];
        for (expected, body) in others {
            self.go.ask_reshare(body).await;
            let event = results.one().await;
            assert_eq!((code(&event), &event["pub_key"]), (expected, &Value::Null), "{event}");
        }
    }

    async fn signs(&self) {
        let wallet = self.wallet("signing").await;
        let (ecdsa, eddsa) = (ecdsa_key(&bytes(&wallet, "ecdsa_pub_key")), bytes(&wallet, "eddsa_pub_key"));
        let tx = Tx::new("secp256k1", "signing", "e<1>", &DIGEST);
        self.go.ask_signature(tx.signed(Form::Legacy, self.signer(), &[])).await;
        let message = self.signatures.one_message().await;
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_ecdsa_event(&event, &ecdsa, &DIGEST);
        let text = |member: &str| event[member].as_str().unwrap().to_owned();
        let expected = format!(
            concat!(
                r#"{{"result_type":"success","error_code":"","error_reason":"","is_timeout":false,"network_internal_code":"net","#,
                r#""wallet_id":"signing","tx_id":"e\u003c1\u003e","r":"{}","s":"{}","signature_recovery":"{}","signature":null}}"#
            ),
            text("r"),
            text("s"),
            text("signature_recovery")
        );
        assert_eq!(std::str::from_utf8(&message.payload).unwrap(), expected);
        assert_eq!(message.subject.as_str(), "mpc.mpc_signing_result.complete");
        // A short digest is a number with leading zeros.
        let short = self.signature(&Tx::new("secp256k1", "signing", "e2", &[7, 8]), Form::Legacy).await;
        assert_ecdsa_event(&short, &ecdsa, &[&[0; 30][..], &[7, 8]].concat().try_into().unwrap());
        for (number, form) in [Form::Legacy, Form::Complete].into_iter().enumerate() {
            let (id, path) = (format!("child-{number}"), [44, 7, 2_147_483_647]);
            let child = self.signature(&Tx::new("secp256k1", "signing", &id, &DIGEST).at(&path), form).await;
            assert_ecdsa_event(&child, &ecdsa_child(ecdsa, &path), &DIGEST);
            let id = format!("ed-{number}");
            let event = self.signature(&Tx::new("ed25519", "signing", &id, b"a message").at(&path), form).await;
            assert_eddsa(&eddsa_child(&eddsa, &path), b"a message", &bytes(&event, "signature"));
        }
        let tx = Tx::new("ed25519", "signing", "ts-tx", b"of typescript");
        self.go.publish("mpc.signing_request.ts-tx", tx.signed(Form::Legacy, self.signer(), &[])).await;
        let event = self.signatures.one().await;
        assert_eddsa(&eddsa, b"of typescript", &bytes(&event, "signature"));
        // Only one of the two forms that such texts have is what was signed.
        for (number, form) in [Form::Stringified, Form::Legacy, Form::Complete].into_iter().enumerate() {
            let id = format!("<{number}> & \u{2028}\u{2029}\"\\ü");
            let tx = Tx { network: "<a> & \u{2028}", ..Tx::new("ed25519", "signing", &id, b"escaped") };
            let event = self.signature(&tx, form).await;
            assert_eddsa(&eddsa, b"escaped", &bytes(&event, "signature"));
            assert_eq!(
                (event["tx_id"].as_str(), event["network_internal_code"].as_str()),
                (Some(tx.id), Some(tx.network))
            );
        }
        assert!(event["r"].is_null() && event["s"].is_null() && event["signature_recovery"].is_null());
    }

    /// The stream of results still knows the first result by its id when the second is published.
    async fn answers_repeats(&self) {
        let tx = Tx::new("secp256k1", "signing", "repeated", &DIGEST);
        let first = self.signature(&tx, Form::Legacy).await;
        for _ in 0..3 {
            assert_eq!(self.signature(&tx, Form::Legacy).await, first);
        }
        // While the first of them runs, the others have the same signature or are told that it runs.
        let tx = Tx::new("secp256k1", "signing", "at once", &DIGEST).signed(Form::Legacy, self.signer(), &[]);
        futures_util::future::join_all((0..8).map(|_| self.go.ask_signature(tx.clone()))).await;
        let events = self.signatures.take(8, "tx_id").await.remove("at once").unwrap();
        assert_eq!(events.len(), 8);
        let (signed, others): (Vec<Value>, Vec<Value>) = events.into_iter().partition(|event| code(event).is_empty());
        assert!(!signed.is_empty());
        assert!(signed.iter().all(|event| *event == signed[0]));
        assert!(others.iter().all(|event| code(event) == "ERROR_SESSION_DUPLICATE"), "{others:?}");
    }

    async fn refuses_other_content(&self) {
        let tx = Tx::new("ed25519", "signing", "conflict", b"one");
        assert_eq!(code(&self.signature(&tx, Form::Legacy).await), "");
        let other = Tx { message: b"another", ..tx.clone() };
        let event = self.signature(&other, Form::Legacy).await;
        assert_eq!(code(&event), "ERROR_SESSION_DUPLICATE", "{event}");
        assert!(event["signature"].is_null());
        // Under another wallet it is another request.
        let elsewhere = Tx { wallet: "go", ..other };
        assert_eq!(code(&self.signature(&elsewhere, Form::Legacy).await), "");
    }

    async fn reports_errors(&self) {
        let stranger = RequestKey::generate(Algorithm::Ed25519).unwrap();
        let unknown = self.signature(&Tx::new("ed25519", "nobody's", "u1", b"m"), Form::Legacy).await;
        assert_eq!(code(&unknown), "ERROR_KEY_NOT_FOUND");
        assert_eq!((&unknown["tx_id"], &unknown["wallet_id"]), (&"u1".into(), &"nobody's".into()));
        assert_eq!((&unknown["network_internal_code"], &unknown["is_timeout"]), (&"net".into(), &false.into()));
        let tx = Tx::new("ed25519", "signing", "forged", b"m");
        self.go.ask_signature(tx.signed(Form::Legacy, &stranger, &[])).await;
        let forged = self.signatures.one().await;
        assert_eq!((code(&forged), &forged["tx_id"]), ("ERROR_INVALID_INITIATOR_SIGNATURE", &"forged".into()));
        // A refused request has used nothing up.
        assert_eq!(code(&self.signature(&tx, Form::Legacy).await), "");
        self.go.ask_wallet(keygen("forged", &stranger, &[])).await;
        let forged = self.wallets.one().await;
        assert_eq!((code(&forged), &forged["wallet_id"]), ("ERROR_INVALID_INITIATOR_SIGNATURE", &"forged".into()));
        for (body, expected) in [
            ("", "ERROR_UNMARSHAL_FAILURE"),
            ("{", "ERROR_UNMARSHAL_FAILURE"),
            ("[]", "ERROR_UNMARSHAL_FAILURE"),
            ("\u{0}\u{1}", "ERROR_UNMARSHAL_FAILURE"),
            ("{}", "ERROR_MSG_VALIDATION"),
            (r#"{"wallet_id":7,"tx_id":"bad"}"#, "ERROR_MSG_VALIDATION"),
            // What is echoed becomes part of a header, in which a line break has no place.
            (r#"{"wallet_id":"a\nb","tx_id":"a\r\nb"}"#, "ERROR_MSG_VALIDATION"),
        ] {
            self.go.ask_signature(body).await;
            assert_eq!(code(&self.signatures.one().await), expected, "{body}");
            self.go.ask_wallet(body).await;
            assert_eq!(code(&self.wallets.one().await), expected, "{body}");
        }
        for (number, (key_type, message)) in
            [("secp256k1", &[1; 33][..]), ("secp256k1", &[]), ("rsa", &[1]), ("ed25519", &[])].into_iter().enumerate()
        {
            let id = format!("bad-{number}");
            let event = self.signature(&Tx::new(key_type, "signing", &id, message), Form::Legacy).await;
            assert_eq!((code(&event), event["tx_id"].as_str()), ("ERROR_MSG_VALIDATION", Some(id.as_str())));
        }
        let hardened = Tx::new("ed25519", "signing", "hardened", b"m").at(&[2_147_483_648]);
        assert_eq!(code(&self.signature(&hardened, Form::Legacy).await), "ERROR_MSG_VALIDATION");
    }

    /// Somebody cleans up while the nodes run.
    async fn repairs_streams_that_are_deleted(&self) {
        for deleted in ["mpc-signing", "mpc"] {
            self.go.context.delete_stream(deleted).await.unwrap();
            let id = format!("after {deleted}");
            let tx = Tx::new("ed25519", "signing", &id, b"m").signed(Form::Legacy, self.signer(), &[]);
            until("the stream of requests is there", async || {
                self.go
                    .context
                    .get_consumer_from_stream::<async_nats::jetstream::consumer::pull::Config, _, _>(
                        "mpc_signing_consumer",
                        "mpc-signing",
                    )
                    .await
                    .ok()
            })
            .await;
            self.go.ask_signature(tx).await;
            until("the stream of results is there", async || self.go.context.get_stream("mpc").await.ok()).await;
            assert_eq!(code(&self.go.signatures().await.one().await), "", "{deleted}");
        }
        self.go.wallets().await;
    }
}

impl Stage<'_> {
    /// A client that does not fetch its results, in a stream that refuses more than it can keep.
    async fn waits_for_room_in_the_stream_of_results(&self) {
        let limit = async |messages| {
            let mut stream = self.go.context.get_stream("mpc").await.unwrap();
            let mut config = stream.info().await.unwrap().config.clone();
            (config.discard, config.max_messages) = (DiscardPolicy::New, messages);
            self.go.context.update_stream(config).await.unwrap();
        };
        limit(1).await;
        self.go.publish("mpc.mpc_reshare_result.kept", "{}").await;
        let deliveries = async || {
            let (_, again) = self.go.unanswered("mpc-signing", "mpc_signing_consumer").await.unwrap();
            again
        };
        let before = deliveries().await;
        let tx = Tx::new("ed25519", "signing", "no room", b"m").signed(Form::Legacy, self.signer(), &[]);
        self.go.ask_signature(tx).await;
        until("it is given back", async || (deliveries().await > before).then_some(())).await;
        limit(-1).await;
        let signatures = self.go.signatures().await;
        assert_eq!(code(&signatures.one().await), "");
        signatures.assert_empty(&self.go).await;
    }
}

/// Each gets what it asked for, and nothing else, however many ask at once.
async fn two_clients(cluster: &Cluster) {
    const EACH: usize = 12;
    let url = cluster.server.url();
    let initiator: Signer<'_> = &cluster.files.initiator;
    let clients = [Wire::connect(&url, Some("desk_1")).await, Wire::connect(&url, Some("desk_2")).await];
    let work = clients.iter().zip(["one", "two"]).map(async |(client, name)| {
        let (wallets, signatures) = (client.wallets().await, client.signatures().await);
        client.ask_wallet(keygen(name, initiator, &[])).await;
        let message = wallets.one_message().await;
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let prefix = format!("mpc.mpc_keygen_result.desk_{}.{name}", if name == "one" { 1 } else { 2 });
        assert_eq!(message.subject.as_str(), prefix);
        let key = bytes(&event, "eddsa_pub_key");
        for number in 0..EACH {
            // Both use the same ids: they are other requests, of other wallets.
            let (id, message) = (format!("tx-{number}"), format!("{name} {number}"));
            let tx = Tx::new("ed25519", name, &id, message.as_bytes());
            client.ask_signature(tx.signed(Form::Legacy, initiator, &[])).await;
        }
        let events = signatures.take(EACH, "tx_id").await;
        assert_eq!(events.len(), EACH);
        for number in 0..EACH {
            let of_this = &events[&format!("tx-{number}")];
            assert_eq!(of_this.len(), 1);
            assert_eq!(of_this[0]["wallet_id"], name);
            assert_eddsa(&key, format!("{name} {number}").as_bytes(), &bytes(&of_this[0], "signature"));
        }
        signatures.assert_empty(client).await;
        wallets.assert_empty(client).await;
    });
    futures_util::future::join_all(work).await;
}

/// What is asked for directly.
async fn native(client: &Client, initiator: &RequestKey) {
    let name: quorate::ids::WalletId = "native".parse().unwrap();
    let request = KeygenRequest::builder(name.clone()).key_types(&Scheme::ALL).sign_with(initiator).unwrap();
    let wallet = soon("a wallet", client.keygen(&request)).await.unwrap();
    assert!(wallet.fresh);
    assert_eq!(wallet.keys.len(), Scheme::ALL.len());
    let again = client.keygen(&request).await.unwrap();
    assert!(!again.fresh);
    assert_eq!((&again.keys, &again.session), (&wallet.keys, &wallet.session));
    let known = client.wallet(name.clone()).await.unwrap();
    assert_eq!(known.keys, wallet.keys);
    let path = DerivationPath::try_from(vec![3, 1]).unwrap();
    for scheme in Scheme::ALL {
        let derived = client.derive(name.clone(), scheme, &path).await.unwrap();
        let own = &wallet.keys.iter().find(|key| key.key_type == scheme).unwrap().public_key;
        let own = hex::decode(own).unwrap();
        let key = hex::decode(&derived.public_key).unwrap();
        let id = format!("native-{scheme}").parse().unwrap();
        let request = SignRequest::builder(scheme, name.clone(), id, &DIGEST).path(path.clone());
        let request = request.sign_with(initiator).unwrap();
        let signed = soon("a signature", client.sign(&request)).await.unwrap();
        assert_eq!(signed.public_key, derived.public_key);
        let signature = hex::decode(&signed.signature).unwrap();
        match scheme {
            Scheme::Ecdsa => {
                let child = ecdsa_child(bitcoin::secp256k1::PublicKey::from_slice(&own).unwrap(), &[3, 1]);
                assert_eq!(child.serialize().to_vec(), key);
                assert_ecdsa(&child, &DIGEST, &signature, signed.recovery.unwrap());
            }
            Scheme::Ed25519 => {
                assert_eq!(eddsa_child(&own, &[3, 1]), key);
                assert_eddsa(&key, &DIGEST, &signature);
            }
            Scheme::Bip340 => assert_taproot(&key, &DIGEST, &signature),
        }
        assert!(signed.session.is_some());
        let again = client.sign(&request).await.unwrap();
        assert_eq!((again.signature, again.session), (signed.signature, None), "the first one is kept");
    }
    let missing = client.wallet("missing".parse().unwrap()).await.unwrap_err();
    assert_eq!(missing.code(), Code::KeyNotFound);
    let request = SignRequest::builder(Scheme::Ed25519, name, "native-ed25519".parse().unwrap(), b"another");
    let conflict = client.sign(&request.sign_with(initiator).unwrap()).await.unwrap_err();
    assert_eq!(conflict.code(), Code::RequestConflict);
    let garbage = client.connection().client().request("quorate.tested.v1.sign", "{".into()).await.unwrap();
    let garbage: Value = serde_json::from_slice(&garbage.payload).unwrap();
    assert_eq!(
        (&garbage["error"]["code"], &garbage["error"]["retryable"]),
        (&"UNMARSHAL_FAILURE".into(), &false.into())
    );
}

/// The same from a shell.
async fn commands(cluster: &Cluster) {
    let (folder, url) = (cluster.files.path().to_owned(), cluster.server.url());
    let run = move |args: &[&str]| {
        let mut command = quorate(&folder);
        command.env("QUORATE_CLIENT_NATS", format!("nats://{url}")).env("QUORATE_CLIENT_CLUSTER", "tested");
        let output = command.arg("client").args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let work = move || {
        let json = |args: &[&str]| {
            let (code, out, err) = run(args);
            assert_eq!(code, 0, "{args:?}: {err}");
            serde_json::from_str::<Value>(&out).unwrap()
        };
        let nodes = json(&["status", "--json"]);
        assert_eq!(nodes.as_array().unwrap().len(), 3);
        assert!(nodes.as_array().unwrap().iter().all(|node| node["health"] == "all"), "{nodes}");
        let wallet = json(&["keygen", "typed", "--json"]);
        assert_eq!(wallet["keys"].as_array().unwrap().len(), 3);
        assert_eq!(json(&["wallet", "typed", "--json"])["keys"], wallet["keys"]);
        let derived = json(&["wallet", "typed", "--key-type", "ed25519", "--path", "m/1/2", "--json"]);
        let sign = ["sign", "typed", "--key-type", "ed25519", "--tx-id", "t1", "--text", "hello"];
        let signed = json(&[&sign[..], &["--path", "m/1/2", "--json"]].concat());
        let unhex = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
        assert_eddsa(&unhex(&derived["public_key"]), b"hello", &unhex(&signed["signature"]));
        let (code, out, _) = run(&[&sign[..], &["--path", "m/1/2"]].concat());
        assert!(code == 0 && out.contains(signed["signature"].as_str().unwrap()), "{out}");
        let (code, out, err) = run(&sign);
        assert_eq!((code, out.as_str()), (1, ""), "another path is another content");
        assert!(err.contains("REQUEST_CONFLICT"), "{err}");
        let refreshed = json(&["refresh", "typed", "--json"]);
        let generations = |wallet: &Value| {
            wallet["keys"].as_array().unwrap().iter().map(|key| key["generation"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((generations(&refreshed), &refreshed["fresh"]), (vec![1, 1, 1], &true.into()));
        let reshare = ["reshare", "typed", "--nodes", "node0,node2", "--threshold", "2", "--session", "s", "--json"];
        let reshared = json(&reshare);
        assert_eq!(generations(&reshared), [2, 2, 2]);
        assert_eq!(reshared["keys"][0]["committee"].as_array().unwrap().len(), 2);
        for (key, before) in reshared["keys"].as_array().unwrap().iter().zip(wallet["keys"].as_array().unwrap()) {
            assert_eq!((&key["public_key"], &key["addresses"]), (&before["public_key"], &before["addresses"]));
        }
        assert_eq!(json(&reshare)["fresh"], false, "the same name is the same request");
        assert_eq!(generations(&json(&["repair", "typed", "--json"])), [3, 3, 3]);
        let (code, _, err) = run(&["reshare", "typed", "--nodes", "node0,node7", "--threshold", "2"]);
        assert!(code == 2 && err.contains("node7"), "{err}");
        let (code, _, err) = run(&["wallet", "missing"]);
        assert!(code == 1 && err.contains("KEY_NOT_FOUND"), "{err}");
        let (code, _, err) = run(&["status", "--cluster", "another"]);
        assert!(code == 1 && err.contains("no node listens"), "{err}");
        let (code, _, err) = run(&["keygen", "w", "--initiator", "nobody"]);
        assert!(code == 2 && err.contains("nobody.identity.json"), "{err}");
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
