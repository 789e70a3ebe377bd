//! Requests that reach a node which does not hold their wallet: whoever takes them, a member answers.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use quorate::client::{ClientError, KeygenRequest, ReshareRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::Algorithm;
use quorate::ids::{Scheme, WalletId};
use quorate::testing::NatsServer;
use quorate::wire::native::{Answer, Operation, Signed};

use crate::client::{Form, Tx, Wire};
use crate::cluster::{Cluster, Files};
use crate::verify::assert_eddsa;

const DIGEST: [u8; 32] = [0x0e; 32];
/// Each of three nodes is surely asked by one of so many requests: the chance that one is not is below one in ten thousand.
const REQUESTS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn request__should_be_answered_by_a_member_whichever_node_takes_it() {
    let (server, files) = (NatsServer::start().await.unwrap(), Files::new(Algorithm::Ed25519));
    let cluster = Cluster::of_ours(server, files, "").await;
    let (client, initiator) = (&cluster.client, &cluster.files.initiator);
    let wallet: WalletId = "w".parse().unwrap();
    let made = KeygenRequest::builder(wallet.clone()).key_types(&[Scheme::Ed25519]).sign_with(initiator).unwrap();
    let key = hex::decode(&client.keygen(&made).await.unwrap().keys[0].public_key).unwrap();
    let [a, b, outside] = [0, 1, 2].map(|number| cluster.files.peers.nodes()[number].1);
    let request = ReshareRequest::builder(wallet.clone(), "to-two".parse().unwrap(), 2, &[a, b]);
    let request = request.key_types(&[Scheme::Ed25519]);
    client.reshare(&request.sign_with(initiator).unwrap()).await.unwrap();

    let sign = |wallet: &str, id: String| {
        let request = SignRequest::builder(Scheme::Ed25519, wallet.parse().unwrap(), id.parse().unwrap(), &DIGEST);
        request.sign_with(initiator).unwrap()
    };
    let requests: Vec<SignRequest> = (0..REQUESTS).map(|number| sign("w", format!("direct-{number}"))).collect();
    for signed in join_all(requests.iter().map(|request| client.sign(request))).await {
        assert_eddsa(&key, &DIGEST, &hex::decode(&signed.unwrap().signature).unwrap());
    }
    // At its own subject, the node that is no member answers for itself.
    let at = Operation::Sign.subject_at(&"tested".parse().unwrap(), outside);
    let question = sign("w", "at-the-outsider".to_owned()).bytes().to_vec();
    let answer = client.connection().client().request(at, question.into()).await.unwrap();
    let Some(Answer::Error(refused)) = Answer::<Signed>::decode(&answer.payload) else { panic!("{answer:?}") };
    assert_eq!(refused.code, Code::KeyNotFound);

    for _ in 0..REQUESTS {
        let committee = client.wallet(wallet.clone()).await.unwrap().keys[0].committee.clone();
        assert_eq!(BTreeSet::from_iter(committee), [a, b].into());
    }
    for checkup in join_all((0..4).map(|_| client.checkup(wallet.clone()))).await {
        assert!(checkup.unwrap().good);
    }
    match client.sign(&sign("nobodys", "x".to_owned())).await {
        Err(ClientError::Refused(failure)) => assert_eq!(failure.code, Code::KeyNotFound, "{failure}"),
        other => panic!("{other:?}"),
    }

    // mpcium's clients ask over streams, of which any node takes the next message.
    let wire = Wire::connect(&cluster.server.url(), None).await;
    let signatures = wire.signatures().await;
    for number in 0..REQUESTS {
        let id = format!("stream-{number}");
        wire.ask_signature(Tx::new("ed25519", "w", &id, &DIGEST).signed(Form::Complete, initiator, &[])).await;
    }
    for (_, events) in signatures.take(REQUESTS, "tx_id").await {
        assert_eq!(events.len(), 1);
        assert_eddsa(&key, &DIGEST, &crate::verify::bytes(&events[0], "signature"));
    }
    cluster.stop().await;
}
