//! Records and their successors, and what certifies them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use uuid::Uuid;

use super::*;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{PartyIndex, Threshold};
use crate::keys::{ChainCode, Signature};
use crate::protocol::share::GroupKey;
use crate::testing::PlantedWallet;
use crate::wire::sheet::Participant;

struct Planted {
    identities: Vec<Arc<NodeIdentity>>,
    peers: PeerBook,
    first: PlantedWallet,
    second: PlantedWallet,
}

/// A wallet of the first three of four nodes, in 2-of-3; then of the last three.
static PLANTED: LazyLock<Planted> = LazyLock::new(|| {
    let identity = |number: u8| {
        let id = NodeId(Uuid::from_u128(u128::from(number)));
        Arc::new(NodeIdentity::generate(format!("node{number}").parse().unwrap(), id).unwrap())
    };
    let identities: Vec<_> = (1..=4).map(identity).collect();
    let peers = PeerBook::new(identities.iter().map(|identity| identity.member()).collect()).unwrap();
    let three = PeerBook::new(identities[..3].iter().map(|identity| identity.member()).collect()).unwrap();
    let (cluster, wallet) = ("cluster".parse().unwrap(), "wallet".parse().unwrap());
    let threshold = Threshold::new(2, 3).unwrap();
    let first = PlantedWallet::deal(&cluster, &three, &identities[..3], &wallet, threshold, &Scheme::ALL);
    let second = first.reshared(&peers, &identities, &committee(&[4, 3, 2]), threshold);
    Planted { identities, peers, first, second }
});

fn committee(nodes: &[u8]) -> Vec<Participant> {
    let member = |(index, &node): (u8, &u8)| Participant {
        node: NodeId(Uuid::from_u128(u128::from(node))),
        index: PartyIndex::try_from(index).unwrap(),
    };
    (1..).zip(nodes).map(member).collect()
}

fn signatures(bytes: &[u8]) -> BTreeMap<NodeId, [u8; 64]> {
    PLANTED.identities.iter().map(|member| (member.id(), member.sign(RECORD_DOMAIN, &[bytes]))).collect()
}

fn certify(record: &WalletRecord, proofs: &BTreeMap<Scheme, Signature>) -> Result<WalletCertificate, WalletError> {
    let bytes = record.encode().unwrap();
    let signatures = signatures(&bytes);
    WalletCertificate::with_proofs(bytes, signatures, proofs.clone(), &PLANTED.peers)
}

#[test]
fn successor__should_keep_the_wallet_and_move_its_keys_on() {
    let (first, second) = (PLANTED.first.certificate.record(), PLANTED.second.certificate.record());
    assert_eq!((&second.wallet, second.chain_code), (&first.wallet, first.chain_code));
    for (old, new) in first.keys.iter().zip(&second.keys) {
        assert_eq!((new.public_key(), new.generation), (old.public_key(), Generation(1)));
        assert_eq!(new.committee, committee(&[4, 3, 2]));
    }
    assert!(second.succeeds(first) && !first.succeeds(second) && !first.succeeds(first));
}

#[test]
fn successor__should_not_be_one_of_another_wallet_or_with_a_key_that_went_back() {
    let (first, second) = (PLANTED.first.certificate.record(), PLANTED.second.certificate.record());
    let changes: [fn(&mut WalletRecord); 6] = [
        |record| record.wallet = "other".parse().unwrap(),
        |record| record.cluster = "other".parse().unwrap(),
        |record| record.chain_code = ChainCode([1; 32]),
        |record| drop(record.keys.pop()),
        |record| record.keys[0] = PLANTED.first.certificate.record().keys[0].clone(),
        |record| record.keys[0].generation = Generation(0),
    ];
    let after = second.successor(SheetHash([8; 32]), [8; 32], vec![next(second, 1)]).unwrap();
    assert!(after.succeeds(second) && after.succeeds(first));
    for change in changes {
        let mut changed = after.clone();
        change(&mut changed);
        assert!(!changed.succeeds(second));
    }
}

/// The next generation of one of a record's keys, with the same shares.
fn next(record: &WalletRecord, position: usize) -> NextKey {
    let key = &record.keys[position];
    NextKey { group: key.group.clone(), committee: key.committee.clone(), dealt_ms: Some(7) }
}

#[test]
fn successor__should_remember_its_latest_requests() {
    let mut record = PLANTED.first.certificate.record().clone();
    for request in 0..200 {
        record = record.successor(SheetHash([0; 32]), [request; 32], vec![next(&record, 0)]).unwrap();
        let read = WalletRecord::decode(&record.encode().unwrap()).unwrap();
        assert_eq!(read, record);
    }
    assert!(record.is_after(&[199; 32]) && record.is_after(&[72; 32]));
    assert!(!record.is_after(&[71; 32]) && !record.is_after(&[200; 32]));
    assert_eq!(record.keys[0].generation, Generation(200));
}

#[test]
fn successor__should_refuse_keys_that_are_not_the_wallets() {
    let record = PLANTED.first.certificate.record();
    let threshold = Threshold::new(2, 3).unwrap();
    let foreign: GroupKey = crate::protocol::testbed::deal(Scheme::Ecdsa, threshold, &mut *crate::protocol::rng::os())
        .first()
        .unwrap()
        .group()
        .clone();
    let next = NextKey { group: foreign, committee: committee(&[1, 2, 3]), dealt_ms: None };
    assert!(matches!(record.successor(SheetHash([0; 32]), [0; 32], vec![next]), Err(WalletError::Rule(_))));
}

#[test]
fn certificate__should_survive_encoding_in_both_formats() {
    for planted in [&PLANTED.first, &PLANTED.second] {
        let encoded = planted.certificate.encode().unwrap();
        assert_eq!(WalletCertificate::decode(&encoded, &PLANTED.peers).unwrap(), *planted.certificate);
    }
    // A wallet that was never reshared is stored as it always was.
    let first = PLANTED.first.certificate.encode().unwrap();
    assert!(!first.windows(6).any(|window| window == b"proofs"));
    let record = PLANTED.first.certificate.record().encode().unwrap();
    assert!(!record.windows(8).any(|window| window == b"requests"));
    assert!(!record.windows(8).any(|window| window == b"dealt_ms"));
    let dated = PLANTED.first.certificate.record().clone().dealt_by(77);
    let read = WalletRecord::decode(&dated.encode().unwrap()).unwrap();
    assert!(read.keys.iter().all(|key| key.dealt_ms == Some(77)), "{read:?}");
}

#[test]
fn certificate__should_need_every_member_and_every_proof() {
    let (record, proofs) = (PLANTED.second.certificate.record(), PLANTED.second.certificate.proofs());
    certify(record, proofs).unwrap();
    let bytes = record.encode().unwrap();
    for member in members(record) {
        let mut signatures = signatures(&bytes);
        signatures.remove(&member);
        let refused = WalletCertificate::with_proofs(bytes.clone(), signatures, proofs.clone(), &PLANTED.peers);
        assert!(matches!(refused, Err(WalletError::Signature(node)) if node == member));
    }
    for scheme in Scheme::ALL {
        let mut missing = proofs.clone();
        missing.remove(&scheme);
        assert!(matches!(certify(record, &missing), Err(WalletError::Proof(of)) if of == scheme));
        let mut other = proofs.clone();
        other.insert(scheme, proofs[&Scheme::ALL[(Scheme::ALL.iter().position(|s| *s == scheme).unwrap() + 1) % 3]]);
        assert!(matches!(certify(record, &other), Err(WalletError::Proof(of)) if of == scheme));
    }
}

#[test]
fn certificate__should_not_take_a_proof_for_another_committee_generation_or_wallet() {
    let (record, proofs) = (PLANTED.second.certificate.record(), PLANTED.second.certificate.proofs());
    let changes: [fn(&mut WalletRecord); 5] = [
        |record| record.keys[0].committee = committee(&[3, 4, 2]),
        |record| record.keys[0].generation = Generation(2),
        |record| record.keys[0].group = PLANTED.first.certificate.record().keys[0].group.clone(),
        |record| record.wallet = "other".parse().unwrap(),
        |record| record.chain_code = ChainCode([1; 32]),
    ];
    for change in changes {
        let mut changed = record.clone();
        change(&mut changed);
        assert!(matches!(certify(&changed, proofs), Err(WalletError::Proof(Scheme::Ecdsa))));
    }
}

#[test]
fn proof__should_stay_good_when_another_key_moves_on() {
    let second = PLANTED.second.certificate.record();
    let third = second.successor(SheetHash([3; 32]), [3; 32], vec![next(second, 1)]).unwrap();
    let mut proofs = PLANTED.second.certificate.proofs().clone();
    assert!(matches!(certify(&third, &proofs), Err(WalletError::Proof(Scheme::Ed25519))));
    let key = third.key(Scheme::Ed25519).unwrap();
    proofs.insert(Scheme::Ed25519, crate::testing::prove(&third, key, &PLANTED.second.shares));
    certify(&third, &proofs).unwrap();
}

#[test]
fn record__should_refuse_a_format_that_is_not_its_own() {
    let tamper = |record: &WalletRecord, version: u8| {
        let mut bytes = record.encode().unwrap();
        let at = bytes.windows(7).position(|window| window == b"version").unwrap() + 7;
        bytes[at] = version;
        WalletRecord::decode(&bytes)
    };
    let (first, second) = (PLANTED.first.certificate.record(), PLANTED.second.certificate.record());
    for (record, version, accepted) in [(first, 1, true), (first, 2, false), (second, 2, true), (second, 1, false)] {
        assert_eq!(tamper(record, version).is_ok(), accepted, "{version}");
    }
    assert!(tamper(second, 3).is_err());
}
