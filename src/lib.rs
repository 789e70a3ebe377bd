//! quorate: a threshold-signature wallet node built of supervised actors.
#![forbid(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod config;
pub mod error;
pub mod identity;
pub mod ids;
pub mod keygen;
pub mod keys;
pub mod local_cluster;
pub mod node;
pub mod pairing;
pub mod policy;
pub mod protocol;
pub mod registry;
pub mod secret;
pub mod session;
pub mod signing;
pub mod storage;
pub mod supervision;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod wallet;
pub mod wire;
