//! quorate: a threshold-signature wallet node built of supervised actors.
#![forbid(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod config;
pub mod error;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod policy;
pub mod protocol;
pub mod secret;
pub mod supervision;
pub mod wire;
