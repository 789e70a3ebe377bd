//! Somebody who may publish requests, and has no key that counts.

use futures_util::future::join_all;
use quorate::client::{Client, ClientError, KeygenRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::Scheme;
use quorate::testing::NatsServer;

use crate::client::{Form, Inbox, Signer, Tx, Wire, code, keygen};
use crate::cluster::{Cluster, Files};
use crate::soon;
use crate::verify::{assert_eddsa, bytes};

/// How often somebody is attacked.
const VICTIMS: usize = 5;
/// How many forged requests come before each true one, and as many after it.
const FLOOD: usize = 40;
/// The same where there is no queue for more than a node takes at once.
const DIRECT_FLOOD: usize = 8;
const MESSAGE: &[u8] = b"the victim's";

#[tokio::test(flavor = "multi_thread")]
async fn requests__should_be_answered_whatever_others_send_under_their_names() {
    let files = Files::new(Algorithm::Ed25519);
    let policy = "[policy]\nallow_legacy_path = true\n";
    let cluster = Cluster::of_ours(NatsServer::start().await.unwrap(), files, policy).await;
    let url = cluster.server.url();
    let attack = Attack {
        stranger: RequestKey::generate(Algorithm::Ed25519).unwrap(),
        outsider: Wire::connect(&url, None).await,
        victim: Wire::connect(&url, Some("victim")).await,
    };
    let initiator = &cluster.files.initiator;
    for number in 0..VICTIMS {
        attack.on_a_keygen(initiator, &format!("w{number}")).await;
    }
    let (wallets, theirs) = (attack.victim.wallets().await, attack.outsider.wallets().await);
    let events = wallets.take(VICTIMS, "wallet_id").await;
    let mut keys = Vec::new();
    for number in 0..VICTIMS {
        let answers = &events[&format!("w{number}")];
        assert!(answers.len() == 1 && code(&answers[0]).is_empty(), "{answers:?}");
        keys.push(bytes(&answers[0], "eddsa_pub_key"));
    }
    assert_refused(&theirs, "wallet_id").await;

    for number in 0..VICTIMS {
        attack.on_a_signature(initiator, &format!("w{number}")).await;
    }
    let (signatures, theirs) = (attack.victim.signatures().await, attack.outsider.signatures().await);
    let events = signatures.take(VICTIMS, "wallet_id").await;
    for (number, key) in keys.iter().enumerate() {
        let answers = &events[&format!("w{number}")];
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(code(&answers[0]), "", "{}", answers[0]);
        assert_eddsa(key, MESSAGE, &bytes(&answers[0], "signature"));
    }
    assert_refused(&theirs, "wallet_id").await;

    // A wallet's name is taken by whoever may make one, and not by others.
    attack.on_a_keygen(initiator, "w0").await;
    assert_eq!(code(&wallets.one().await), "ERROR_KEY_ALREADY_EXISTS");
    let events = attack.outsider.wallets().await.take(2 * FLOOD, "wallet_id").await;
    assert!(events["w0"].iter().all(|event| REFUSED.contains(&code(event))), "{events:?}");
    attack.directly(&cluster.client, initiator, &keys[0]).await;
    wallets.assert_empty(&attack.victim).await;
    signatures.assert_empty(&attack.victim).await;
    cluster.stop().await;
}

/// What forged requests are answered with: those that repeat each other to the byte may also be told that.
const REFUSED: [&str; 2] = ["ERROR_INVALID_INITIATOR_SIGNATURE", "ERROR_SESSION_DUPLICATE"];

/// Every forged request has its answer, and none what it asks for.
async fn assert_refused(inbox: &Inbox, named_by: &str) {
    let events = inbox.take(VICTIMS * 2 * FLOOD, named_by).await;
    assert_eq!(events.len(), VICTIMS);
    for answers in events.values() {
        assert_eq!(answers.len(), 2 * FLOOD);
        let unsigned = answers.iter().filter(|event| code(event) == REFUSED[0]).count();
        assert!(unsigned >= FLOOD, "those that differ are refused each for itself: {unsigned}");
        assert!(answers.iter().all(|event| REFUSED.contains(&code(event))), "{answers:?}");
    }
}

struct Attack {
    stranger: RequestKey,
    outsider: Wire,
    victim: Wire,
}

impl Attack {
    async fn on_a_keygen(&self, initiator: Signer<'_>, wallet: &str) {
        let (forged, own) = (keygen(wallet, &self.stranger, &[]), keygen(wallet, initiator, &[]));
        let forged = |number| self.outsider.ask_wallet(variant(&forged, number));
        let (before, after) = (join_all((0..FLOOD).map(forged)), join_all((FLOOD..2 * FLOOD).map(forged)));
        tokio::join!(before, self.victim.ask_wallet(own), after);
    }

    async fn on_a_signature(&self, initiator: Signer<'_>, wallet: &str) {
        let tx = Tx::new("ed25519", wallet, "tx", MESSAGE);
        let own = tx.signed(Form::Legacy, initiator, &[]);
        // Under the same name, some want the same and some want something else.
        let contents = [MESSAGE, b"the outsider's"];
        let forged = contents.map(|message| Tx { message, ..tx.clone() }.signed(Form::Legacy, &self.stranger, &[]));
        let forged = |number: usize| self.outsider.ask_signature(variant(&forged[number % 2], number));
        let (before, after) = (join_all((0..FLOOD).map(forged)), join_all((FLOOD..2 * FLOOD).map(forged)));
        tokio::join!(before, self.victim.ask_signature(own), after);
    }

    /// The same where the answer comes to who asked.
    async fn directly(&self, client: &Client, initiator: &RequestKey, key: &[u8]) {
        let tx = |signer: &RequestKey| {
            let id = "direct".parse().unwrap();
            SignRequest::builder(Scheme::Ed25519, "w0".parse().unwrap(), id, MESSAGE).sign_with(signer).unwrap()
        };
        let wallet = |signer: &RequestKey| KeygenRequest::builder("direct".parse().unwrap()).sign_with(signer).unwrap();
        let refused = |error: ClientError| match error {
            ClientError::Refused(failure) => assert_eq!(failure.code, Code::InvalidInitiatorSignature, "{failure}"),
            other => panic!("{other}"),
        };
        let forging = async || {
            let (forged_tx, forged_wallet) = (tx(&self.stranger), wallet(&self.stranger));
            let txs = join_all((0..DIRECT_FLOOD).map(|_| client.sign(&forged_tx)));
            let wallets = join_all((0..DIRECT_FLOOD).map(|_| client.keygen(&forged_wallet)));
            let (txs, wallets) = tokio::join!(txs, wallets);
            txs.into_iter().for_each(|answer| refused(answer.unwrap_err()));
            wallets.into_iter().for_each(|answer| refused(answer.unwrap_err()));
        };
        let (own_tx, own_wallet) = (tx(initiator), wallet(initiator));
        let own = async { tokio::join!(client.sign(&own_tx), client.keygen(&own_wallet)) };
        let ((), (signed, made), ()) =
            soon("all are answered", async { tokio::join!(forging(), own, forging()) }).await;
        assert_eddsa(key, MESSAGE, &hex::decode(signed.unwrap().signature).unwrap());
        assert!(made.unwrap().fresh);
    }
}

/// The same request: every other one in bytes that no other has.
fn variant(request: &str, number: usize) -> String {
    let blanks = if number.is_multiple_of(4) || number % 4 == 1 { 0 } else { number };
    format!("{request}{}", " ".repeat(blanks))
}
