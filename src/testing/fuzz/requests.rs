//! What clients write, and what they read.
#![expect(clippy::unwrap_used, reason = "honest requests can be written")]

use std::sync::LazyLock;

use uuid::Uuid;

use super::Target;
use crate::gateway::text_field;
use crate::identity::{Algorithm, RequestKey};
use crate::ids::{NodeId, Scheme};
use crate::keys::{DerivationPath, PublicKey, Signature};
use crate::nats::Version;
use crate::wire::mpcium::{ClientId, KeygenEvent, ReshareEvent, SigningEvent};
use crate::wire::native::{DeriveQuery, NodeStatus, WalletQuery};
use crate::wire::request::{DestroyRequest, KeygenRequest, ReshareRequest, SignRequest};

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "keygen_request", seeds: keygen_requests, run: keygen_request, cost: 1 },
        Target { name: "sign_request", seeds: sign_requests, run: sign_request, cost: 1 },
        Target { name: "reshare_request", seeds: reshare_requests, run: reshare_request, cost: 1 },
        Target { name: "destroy_request", seeds: destroy_requests, run: destroy_request, cost: 1 },
        Target { name: "native_query", seeds: queries, run: query, cost: 1 },
        Target { name: "result", seeds: results, run: result, cost: 1 },
        Target { name: "name", seeds: names, run: name, cost: 1 },
    ]
}

static KEYS: LazyLock<[RequestKey; 2]> =
    LazyLock::new(|| [Algorithm::Ed25519, Algorithm::P256].map(|algorithm| RequestKey::generate(algorithm).unwrap()));

pub(super) fn keygen_requests() -> Vec<Vec<u8>> {
    let request = |key: &RequestKey| {
        let request = KeygenRequest::builder("wallet-1".parse().unwrap()).key_types(&Scheme::ALL);
        request.sign_with(key).unwrap().bytes().to_vec()
    };
    let mut all: Vec<Vec<u8>> = KEYS.iter().map(request).collect();
    all.push(
        br#"{"wallet_id":"w","signature":"AAAA","authorizer_signatures":[{"authorizer_id":"a","signature":"AAAA"}]}"#
            .to_vec(),
    );
    all
}

fn keygen_request(bytes: &[u8]) -> bool {
    let _ = text_field(bytes, "wallet_id");
    let Ok(request) = KeygenRequest::parse(bytes) else { return false };
    assert!(KeygenRequest::parse(request.bytes()).is_ok(), "a request that was taken is taken again");
    true
}

pub(super) fn sign_requests() -> Vec<Vec<u8>> {
    let path = DerivationPath::try_from(vec![44, 60, 0, 7]).unwrap();
    let requests = Scheme::ALL.into_iter().zip(KEYS.iter().cycle()).map(|(scheme, key)| {
        let request = SignRequest::builder(scheme, "wallet-1".parse().unwrap(), "tx".parse().unwrap(), &[7; 32]);
        request.path(path.clone()).sign_with(key).unwrap().bytes().to_vec()
    });
    let legacy = br#"{"key_type":"secp256k1","wallet_id":"w","network_internal_code":"<&>","tx_id":"t","tx":"AAAA",
        "signature":"AAAA","derivation_path":null,"authorizer_signatures":null}"#;
    requests.chain([legacy.to_vec()]).collect()
}

fn sign_request(bytes: &[u8]) -> bool {
    for field in ["wallet_id", "tx_id", "network_internal_code"] {
        let echoed = text_field(bytes, field);
        assert!(!echoed.contains(char::is_control), "what is echoed fits a subject: {echoed:?}");
    }
    let Ok(request) = SignRequest::parse(bytes) else { return false };
    assert!(SignRequest::parse(request.bytes()).is_ok(), "a request that was taken is taken again");
    true
}

fn reshare_requests() -> Vec<Vec<u8>> {
    let nodes = [1, 2, 3].map(|number| NodeId(Uuid::from_u128(number)));
    let request = |key: &RequestKey, schemes: &[Scheme]| {
        let request = ReshareRequest::builder("wallet-1".parse().unwrap(), "session".parse().unwrap(), 2, &nodes);
        request.key_types(schemes).sign_with(key).unwrap().bytes().to_vec()
    };
    let [one, other] = &*KEYS;
    vec![request(one, &[Scheme::Ecdsa]), request(other, &Scheme::ALL)]
}

pub(super) fn destroy_requests() -> Vec<Vec<u8>> {
    let keys = [PublicKey::new(Scheme::Ed25519, &[7; 32]).unwrap()];
    let [initiator, alice] = &*KEYS;
    let request = DestroyRequest::builder("wallet-1".parse().unwrap(), &keys);
    let approved = request.approved_by("alice".to_owned().try_into().unwrap(), alice).sign_with(initiator).unwrap();
    vec![approved.bytes().to_vec()]
}

fn destroy_request(bytes: &[u8]) -> bool {
    let Ok(request) = DestroyRequest::parse(bytes) else { return false };
    assert!(DestroyRequest::parse(request.bytes()).is_ok(), "a request that was taken is taken again");
    true
}

fn reshare_request(bytes: &[u8]) -> bool {
    let _ = text_field(bytes, "session_id");
    let Ok(request) = ReshareRequest::parse(bytes) else { return false };
    assert!(ReshareRequest::parse(request.bytes()).is_ok(), "a request that was taken is taken again");
    true
}

fn queries() -> Vec<Vec<u8>> {
    let derive = r#"{"wallet_id":"w","key_type":"ed25519","derivation_path":[1,2,3]}"#;
    [r#"{"wallet_id":"w"}"#, derive].map(|text| text.as_bytes().to_vec()).into()
}

fn query(bytes: &[u8]) -> bool {
    let wallet = serde_json::from_slice::<WalletQuery>(bytes).is_ok();
    let derive = serde_json::from_slice::<DeriveQuery>(bytes).is_ok_and(|query| {
        let _ = DerivationPath::try_from(query.derivation_path);
        true
    });
    wallet || derive || serde_json::from_slice::<NodeStatus>(bytes).is_ok()
}

fn results() -> Vec<Vec<u8>> {
    let ecdsa = Signature::Ecdsa { r: [1; 32], s: [2; 32], recovery: 1 };
    let events = [ecdsa, Signature::Ed25519([3; 64])]
        .map(|signature| SigningEvent::success("n", "w", "t", &signature).to_json());
    let key = PublicKey::new(Scheme::Ed25519, &[3; 32]).unwrap();
    let others = [KeygenEvent::success("w", &[]).to_json(), ReshareEvent::success("w", 1, &key).to_json()];
    events.into_iter().chain(others).collect()
}

fn result(bytes: &[u8]) -> bool {
    serde_json::from_slice::<SigningEvent>(bytes).is_ok()
        || serde_json::from_slice::<KeygenEvent>(bytes).is_ok()
        || serde_json::from_slice::<ReshareEvent>(bytes).is_ok()
}

/// Names of clients and versions of servers.
fn names() -> Vec<Vec<u8>> {
    ["team-1", "2.15.1", "v2.12.0-RC.1"].map(|text| text.as_bytes().to_vec()).into()
}

fn name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let version = Version::parse(text).is_some();
    ClientId::try_from(text).is_ok() || version
}
