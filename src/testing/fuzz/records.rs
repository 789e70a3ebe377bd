//! What the store holds, should somebody get past its seal, or the seal be ours and the content damaged before.
#![expect(clippy::unwrap_used, reason = "honest records encode")]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use uuid::Uuid;

use super::Target;
use crate::backup::fuzz as archive;
use crate::identity::{Algorithm, NodeIdentity, PeerBook, RequestKey as SigningKey};
use crate::ids::{ClusterId, Generation, NodeId, Scheme, SheetHash, Threshold};
use crate::keys::Signature;
use crate::pairing::some_ban;
use crate::protocol::pair::PairState;
use crate::protocol::pair::testbed::established;
use crate::protocol::share::KeyShare;
use crate::secret::SecretBytes;
use crate::signing::{AdmissionRecord, Attempted, RequestKey};
use crate::storage::Family;
use crate::storage::fuzz as header;
use crate::testing::PlantedWallet;
use crate::wallet::{
    DestructionCertificate, Pending, Restored, WalletCertificate, WalletRecord, certificate_key, orphan_key,
    quarantine_key, share_key,
};
use crate::wire::request::DestroyRequest;

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "store_header", seeds: headers, run: header::is_header, cost: 1 },
        Target {
            name: "admission_record",
            seeds: admissions,
            run: |bytes| AdmissionRecord::decode(bytes).is_ok(),
            cost: 1,
        },
        Target { name: "pending_shares", seeds: pendings, run: |bytes| Pending::decode(bytes).is_ok(), cost: 1 },
        Target { name: "wallet_record", seeds: wallet_records, run: wallet_record, cost: 5 },
        Target { name: "wallet_certificate", seeds: certificates, run: certificate, cost: 10 },
        Target { name: "destruction_certificate", seeds: destructions, run: destruction, cost: 10 },
        Target { name: "key_share", seeds: shares, run: share, cost: 3 },
        Target {
            name: "pair_state",
            seeds: pair_states,
            run: |bytes| PairState::from_secret_bytes(bytes).is_ok(),
            cost: 20,
        },
        Target {
            name: "backup_archive",
            seeds: archives,
            run: |bytes| archive::is_archive(bytes, &PLANTED.peers),
            cost: 20,
        },
    ]
}

struct Planted {
    peers: PeerBook,
    wallet: PlantedWallet,
    /// The same one after a reshare.
    reshared: PlantedWallet,
    /// The certificate of its destruction, with two statements.
    destruction: DestructionCertificate,
}

static PLANTED: LazyLock<Planted> = LazyLock::new(|| {
    let identities: Vec<_> = (0..3)
        .map(|number| {
            let id = NodeId(Uuid::from_u128(number + 1));
            Arc::new(NodeIdentity::generate(format!("node{number}").parse().unwrap(), id).unwrap())
        })
        .collect();
    let peers = PeerBook::new(identities.iter().map(|identity| identity.member()).collect()).unwrap();
    let (cluster, wallet): (ClusterId, _) = ("fuzz".parse().unwrap(), "wallet".parse().unwrap());
    let threshold = Threshold::new(2, 3).unwrap();
    let wallet = PlantedWallet::deal(&cluster, &peers, &identities, &wallet, threshold, &Scheme::ALL);
    let reshared = wallet.reshared(&peers, &identities, &peers.committee(), threshold);
    let keys: Vec<_> = wallet.certificate.record().keys.iter().map(|key| key.public_key()).collect();
    let request = DestroyRequest::builder("wallet".parse().unwrap(), &keys);
    let request = request.sign_with(&SigningKey::generate(Algorithm::Ed25519).unwrap()).unwrap();
    let mut destruction = DestructionCertificate::new(request, (*wallet.certificate).clone()).unwrap();
    for identity in identities.iter().take(2) {
        destruction.state(identity, vec![(Scheme::Ed25519, Generation(0))], 7).unwrap();
    }
    Planted { peers, wallet, reshared, destruction }
});

/// The shares of one member.
fn shares_of_one() -> &'static BTreeMap<Scheme, Arc<KeyShare>> {
    PLANTED.wallet.shares.values().next().unwrap()
}

fn destructions() -> Vec<Vec<u8>> {
    vec![PLANTED.destruction.encode().unwrap()]
}

fn destruction(bytes: &[u8]) -> bool {
    let Ok(certificate) = DestructionCertificate::decode(bytes, &PLANTED.peers) else { return false };
    let again = DestructionCertificate::decode(&certificate.encode().unwrap(), &PLANTED.peers);
    assert_eq!(again.unwrap(), certificate, "what was taken is taken again");
    true
}

fn headers() -> Vec<Vec<u8>> {
    vec![header::some_header().unwrap()]
}

fn admissions() -> Vec<Vec<u8>> {
    let attempt = Attempted { session: SheetHash([1; 32]), signers: vec![NodeId(Uuid::from_u128(7))] };
    [(None, Some(attempt)), (Some(Signature::Ed25519([7; 64])), None)]
        .map(|(answer, attempt)| AdmissionRecord { content: [3; 32], answer, attempt })
        .map(|record| record.encode().unwrap().expose().to_vec())
        .into()
}

fn pendings() -> Vec<Vec<u8>> {
    let record = PLANTED.wallet.certificate.record().encode().unwrap();
    let shares = shares_of_one().iter().map(|(&scheme, share)| (scheme, share.to_secret_bytes().unwrap())).collect();
    let pending = Pending::new(SheetHash([1; 32]), [2; 32], record, [3; 64], &shares);
    vec![pending.encode().unwrap().expose().to_vec()]
}

fn wallet_records() -> Vec<Vec<u8>> {
    [&PLANTED.wallet, &PLANTED.reshared].map(|wallet| wallet.certificate.record().encode().unwrap()).into()
}

fn wallet_record(bytes: &[u8]) -> bool {
    let Ok(record) = WalletRecord::decode(bytes) else { return false };
    let again = record.encode().unwrap();
    assert!(WalletRecord::decode(&again).is_ok(), "a record that was taken is taken again");
    true
}

fn certificates() -> Vec<Vec<u8>> {
    [&PLANTED.wallet, &PLANTED.reshared].map(|wallet| wallet.certificate.encode().unwrap()).into()
}

fn certificate(bytes: &[u8]) -> bool {
    WalletCertificate::decode(bytes, &PLANTED.peers).is_ok()
}

fn shares() -> Vec<Vec<u8>> {
    shares_of_one().values().map(|share| share.to_secret_bytes().unwrap().expose().to_vec()).collect()
}

fn share(bytes: &[u8]) -> bool {
    shares_of_one().values().any(|share| KeyShare::from_secret_bytes(bytes, share.group()).is_ok())
}

fn pair_states() -> Vec<Vec<u8>> {
    let [half, other] = established().first().unwrap();
    [half, other].map(|half| half.to_secret_bytes().unwrap().expose().to_vec()).into()
}

/// Something of every kind that a store holds, but a pair setup, which has a target of its own.
fn archives() -> Vec<Vec<u8>> {
    let record = PLANTED.wallet.certificate.record();
    let (&node, shares) = PLANTED.wallet.shares.first_key_value().unwrap();
    let secret = |bytes: &[u8]| SecretBytes::copy_from(bytes);
    let active = shares.iter().map(|(&scheme, share)| {
        (Family::Shares, share_key(&record.wallet, scheme, Generation(0)), share.to_secret_bytes().unwrap())
    });
    let mut records: Vec<_> = active.collect();
    let (ban, banned) = some_ban(NodeId(Uuid::from_u128(9)));
    let request = RequestKey { wallet: record.wallet.clone(), request: "request".parse().unwrap() };
    let mark = Restored { archive: [1; 16], made_ms: 2, restored_ms: 3 };
    records.extend([
        (Family::Shares, orphan_key(&record.wallet, SheetHash([4; 32])), secret(pendings().first().unwrap())),
        (Family::Wallets, certificate_key(&record.wallet), secret(certificates().first().unwrap())),
        (Family::Results, request.storage_key(), secret(admissions().first().unwrap())),
        (Family::Audit, b"entry".to_vec(), secret(b"something")),
        (Family::Bans, ban, secret(&banned)),
        (Family::Meta, quarantine_key(&record.wallet), mark.encode().unwrap()),
    ]);
    archive::some_archives(&record.cluster, node, records)
}
