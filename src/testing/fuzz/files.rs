//! What operators write: identities, peer books, keys, configurations, transactions.
#![expect(clippy::unwrap_used, reason = "honest files can be written, and a folder be made for others")]

use std::cell::LazyCell;
use std::path::Path;

use tempfile::TempDir;
use uuid::Uuid;

use super::Target;
use crate::chain::{EthereumTransaction, SolanaMessageFile, TaprootSpendFile};
use crate::config::{Config, Environment, Flags};
use crate::identity::{
    Algorithm, Existing, NodeIdentity, PeerBook, PeerList, Protection, RequestKey, RequestKeyFiles, RequestPublicKey,
};
use crate::ids::NodeId;

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "peers_json", seeds: peer_lists, run: peer_list, cost: 2 },
        Target { name: "node_identity", seeds: identities, run: identity, cost: 3 },
        Target { name: "initiator_identity", seeds: initiators, run: initiator, cost: 3 },
        Target { name: "key_text", seeds: keys, run: key, cost: 2 },
        Target {
            name: "config_toml",
            seeds: || vec![include_bytes!("../../../config/quorate.toml").to_vec()],
            run: |bytes| config("toml", bytes),
            cost: 20,
        },
        Target { name: "config_yaml", seeds: yamls, run: |bytes| config("yaml", bytes), cost: 20 },
        Target { name: "transaction", seeds: transactions, run: transaction, cost: 1 },
    ]
}

thread_local! {
    /// A folder for the files of this thread's inputs.
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().unwrap());
}

/// Has `read` read a folder in which the file `name` has these bytes.
fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> bool) -> bool {
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        read(folder.path())
    })
}

/// What `write` leaves in the file `name` of an empty folder.
fn written(name: &str, write: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    std::fs::read(folder.path().join(name)).unwrap()
}

const LIST: &str = "peers.json";
const IDENTITY: &str = "node0_identity.json";
const INITIATOR: &str = "event_initiator.identity.json";

fn peer_lists() -> Vec<Vec<u8>> {
    let list = |folder: &Path| PeerList::generate(3).unwrap().save(&folder.join(LIST), Existing::Keep).unwrap();
    vec![written(LIST, list)]
}

fn peer_list(bytes: &[u8]) -> bool {
    with_file(LIST, bytes, |folder| PeerList::load(&folder.join(LIST)).is_ok())
}

const ME: NodeId = NodeId(Uuid::from_u128(1));
const BOOK: &str = r#"{"node0":"00000000-0000-0000-0000-000000000001","node1":"00000000-0000-0000-0000-000000000002"}"#;

fn save_identity(folder: &Path, name: &str, id: NodeId) {
    let identity = NodeIdentity::generate(name.parse().unwrap(), id).unwrap();
    identity.save(folder, Protection::FileMode, Existing::Replace).unwrap();
}

fn identities() -> Vec<Vec<u8>> {
    vec![written(IDENTITY, |folder| save_identity(folder, "node0", ME))]
}

/// As part of a peer book, whose other node is as it should be.
fn identity(bytes: &[u8]) -> bool {
    with_file(IDENTITY, bytes, |folder| {
        if !folder.join("book.json").exists() {
            save_identity(folder, "node1", NodeId(Uuid::from_u128(2)));
            std::fs::write(folder.join("book.json"), BOOK).unwrap();
        }
        PeerBook::load(&folder.join("book.json"), folder).is_ok()
    })
}

fn initiators() -> Vec<Vec<u8>> {
    let initiator = |algorithm| {
        written(INITIATOR, |folder| {
            let files = RequestKeyFiles::initiator(folder, &"event_initiator".parse().unwrap());
            files.save(&RequestKey::generate(algorithm).unwrap(), Protection::FileMode, Existing::Keep).unwrap();
        })
    };
    [Algorithm::Ed25519, Algorithm::P256].map(initiator).into()
}

fn initiator(bytes: &[u8]) -> bool {
    with_file(INITIATOR, bytes, |folder| {
        RequestKeyFiles::initiator(folder, &"event_initiator".parse().unwrap()).load_public().is_ok()
    })
}

fn keys() -> Vec<Vec<u8>> {
    let text = |algorithm| {
        let key = RequestKey::generate(algorithm).unwrap();
        [key.public().to_string().into_bytes(), key.to_text().unwrap().to_vec()]
    };
    [Algorithm::Ed25519, Algorithm::P256].map(text).concat()
}

/// As a private key and as a public one, of either kind.
fn key(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    [Algorithm::Ed25519, Algorithm::P256].into_iter().any(|algorithm| {
        let public = RequestPublicKey::parse(algorithm, &text).is_ok();
        RequestKey::parse(algorithm, bytes).is_ok() || public
    })
}

/// RFC 8032's first test key.
const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// Ours, and one of mpcium.
fn yamls() -> Vec<Vec<u8>> {
    let ours = "cluster:\n  threshold: 2\nsigning:\n  max_concurrent: 5\nnats:\n  servers: [nats://127.0.0.1:4222]\n";
    let theirs = format!(
        "environment: development\nnats:\n  url: nats://127.0.0.1:4222\nconsul:\n  address: localhost:8500\n\
         mpc_threshold: 1\nbadger_password: \"F))ysJp?E]ol&I;^\"\nevent_initiator_pubkey: \"{KEY}\"\n\
         db_path: ./db\nbackup_enabled: true\nmax_concurrent_keygen: \"2\"\n\
         authorization:\n  enabled: true\n  required_authorizers: [alice]\n  authorizer_public_keys:\n    \
         alice:\n      public_key: \"{KEY}\"\n      algorithm: ed25519\n"
    );
    [ours.to_owned(), theirs].map(String::into_bytes).into()
}

/// With what is required on top, and without an environment. Whether what it names exists is looked at later.
fn config(extension: &str, bytes: &[u8]) -> bool {
    let name = format!("quorate.{extension}");
    let named = Flags::default().with("node.name", "node0");
    let complete = named.clone().with("policy.initiator.public_key", KEY).with("storage.passphrase_env", "STORE");
    with_file(&name, bytes, |folder| {
        [named, complete]
            .iter()
            .any(|flags| Config::load(Some(&folder.join(&name)), &Environment::of([]), flags).is_ok())
    })
}

fn transactions() -> Vec<Vec<u8>> {
    let examples: [&[u8]; 3] = [
        include_bytes!("../../../examples/bitcoin-taproot-spend.json"),
        include_bytes!("../../../examples/ethereum-transfer.eip1559.hex"),
        include_bytes!("../../../examples/solana-transfer.json"),
    ];
    examples.map(<[u8]>::to_vec).into()
}

fn transaction(bytes: &[u8]) -> bool {
    let bitcoin = TaprootSpendFile::parse(bytes).is_ok();
    let ethereum = EthereumTransaction::parse(bytes).is_ok();
    SolanaMessageFile::parse(bytes).is_ok() || bitcoin || ethereum
}
