//! The client library for mpcium's streams.

use std::collections::BTreeMap;

use quorate::client::{ClientError, KeygenRequest, Options, SignRequest, SigningEvent, WorkQueue};
use quorate::error::Code;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use quorate::wire::mpcium::{ClientId, KeygenEvent, ResultType};

use crate::cluster::{Cluster, Files};
use crate::soon;
use crate::verify::{assert_ecdsa, assert_eddsa, assert_taproot, ecdsa_key};

/// How many signatures of each scheme a client asks for.
const EACH: u8 = 4;

async fn connect(cluster: &Cluster, client: Option<&str>) -> WorkQueue {
    let client = client.map(|id| ClientId::try_from(id).unwrap());
    WorkQueue::connect(&Options::new([cluster.server.url()], "test"), client).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients__should_get_what_they_asked_for_and_nothing_else() {
    let cluster = Cluster::of_ours(NatsServer::start().await.unwrap(), Files::new(Algorithm::Ed25519), "").await;
    let (all, one, two) = tokio::join!(
        connect(&cluster, None),
        // A name that no consumer can have as it is.
        connect(&cluster, Some("team-1:desk")),
        connect(&cluster, Some("other")),
    );
    let initiator = &cluster.files.initiator;
    tokio::join!(uses(&all, initiator, "a"), uses(&one, initiator, "b"), uses(&two, initiator, "c"));
    // Nothing is left that one of them should have had.
    let context = async_nats::jetstream::new(all.connection().client().clone());
    assert_eq!(context.get_stream("mpc").await.unwrap().cached_info().state.messages, 0);

    // The result could not be fetched by anybody.
    let dotted = KeygenRequest::builder("a.b".parse().unwrap()).sign_with(initiator).unwrap();
    let sent = async || context.get_stream("mpc-keygen").await.unwrap().cached_info().state.last_sequence;
    let before = sent().await;
    match all.request_wallet(&dotted).await {
        Err(ClientError::Refused(failure)) => assert_eq!(failure.code, Code::MsgValidation),
        other => panic!("{other:?}"),
    }
    assert_eq!(sent().await, before, "it was not sent");

    // Two ids of which the contract makes the same consumer: the second does not get the results of the first.
    let twin = connect(&cluster, Some("team:1-desk")).await;
    let refused = twin.signatures().await.err().unwrap();
    assert!(matches!(refused, ClientError::Refused(ref failure) if failure.code == Code::MsgValidation), "{refused}");
    assert!(twin.wallets().await.is_err());
    cluster.stop().await;
}

/// Asks for a wallet, then for signatures of all schemes at once, and takes the results.
async fn uses(queue: &WorkQueue, initiator: &RequestKey, wallet: &str) {
    let (mut wallets, mut signatures) = (queue.wallets().await.unwrap(), queue.signatures().await.unwrap());
    let request = KeygenRequest::builder(wallet.parse().unwrap()).key_types(&Scheme::ALL);
    queue.request_wallet(&request.sign_with(initiator).unwrap()).await.unwrap();
    let made = soon("a wallet", wallets.next()).await.unwrap();
    assert_eq!((made.wallet_id.as_str(), made.result_type), (wallet, ResultType::Success), "{made:?}");

    let mut asked = BTreeMap::new();
    for scheme in Scheme::ALL {
        for number in 0..EACH {
            // All use the same ids: they are other requests, of other wallets.
            let (id, mut digest) = (format!("{scheme}-{number}"), [number; 32]);
            digest[0] = wallet.as_bytes()[0];
            let request =
                SignRequest::builder(scheme, wallet.parse().unwrap(), id.parse().unwrap(), &digest).network_code("net");
            queue.request_signature(&request.sign_with(initiator).unwrap()).await.unwrap();
            asked.insert(id, (scheme, digest));
        }
    }
    while !asked.is_empty() {
        let event = soon("a signature", signatures.next()).await.unwrap();
        let (scheme, digest) =
            asked.remove(&event.tx_id).unwrap_or_else(|| panic!("not asked for, or twice: {event:?}"));
        assert_eq!((event.wallet_id.as_str(), event.network_internal_code.as_str()), (wallet, "net"));
        assert_signed(&made, scheme, &digest, &event);
    }
}

fn assert_signed(wallet: &KeygenEvent, scheme: Scheme, digest: &[u8; 32], event: &SigningEvent) {
    assert_eq!(event.result_type, ResultType::Success, "{event:?}");
    let key = match scheme {
        Scheme::Ecdsa => &wallet.ecdsa_pub_key,
        Scheme::Ed25519 => &wallet.eddsa_pub_key,
        Scheme::Bip340 => &wallet.taproot_pub_key,
    };
    let key = key.as_deref().unwrap();
    match (scheme, &event.signature) {
        (Scheme::Ecdsa, None) => {
            let rs = [event.r.as_deref().unwrap(), event.s.as_deref().unwrap()].concat();
            assert_ecdsa(&ecdsa_key(key), digest, &rs, event.signature_recovery.as_deref().unwrap()[0]);
        }
        (Scheme::Ed25519, Some(signature)) => assert_eddsa(key, digest, signature),
        (Scheme::Bip340, Some(signature)) => assert_taproot(&[&[2], key].concat(), digest, signature),
        _ => panic!("{event:?}"),
    }
}
