//! quorate: a threshold-signature wallet node built of supervised actors.
//!
//! A cluster of n nodes makes keys that never exist in one place; any t of the nodes sign with them: ECDSA on secp256k1,
//! Ed25519, BIP-340. When a peer fails, every session with it is aborted, its secrets are wiped, and the link to it is
//! built anew.
//!
//! Layers, each using only those below it:
//!
//! ```text
//! node                       the root supervisor, and the handle of a running node
//! gateway · health · admin   clients over NATS, observers over HTTP, the operator over a socket
//! backup                     encrypted archives of the store, and restoring them
//! metrics                    what clients were answered
//! keygen · signing · pairing admission, quorums, sheets, commit, idempotency, bans
//! session                    drives one protocol run to exactly one end
//! registry                   who is alive, linked, serving and paired
//! transport                  authenticated encrypted links over a broker
//! storage                    sealed records in RocksDB
//! wallet · policy · identity what nodes certify, whose requests count, who is trusted
//! protocol                   the threshold engines, without I/O
//! nats                       the connection to a NATS server
//! wire · ids · keys · error  formats, names, values
//! ```
//!
//! [`local_cluster`] runs a whole cluster in one process; with the feature `testing`, `testing` adds faults to it and
//! lets a test play an actor's neighbours.
#![forbid(unsafe_code)]

pub mod admin;
pub mod backup;
pub mod chain;
pub mod checkup;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod demo;
pub mod destruction;
pub mod error;
pub mod gateway;
mod halting;
pub mod health;
pub mod identity;
pub mod ids;
pub mod keygen;
pub mod keys;
pub mod local_cluster;
pub mod metrics;
pub mod nats;
pub mod node;
pub mod pairing;
pub mod policy;
pub mod process;
pub mod protocol;
mod recent;
pub mod registry;
pub mod reshare;
pub mod runtime;
pub mod sabotage;
pub mod secret;
pub mod service;
pub mod session;
pub mod signing;
mod stack;
pub mod storage;
pub mod supervision;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod wallet;
pub mod wire;
