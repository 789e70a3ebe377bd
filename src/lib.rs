//! quorate: a threshold-signature wallet node built of supervised actors.
#![forbid(unsafe_code)]

pub mod clock;
pub mod error;
pub mod ids;
pub mod keys;
pub mod protocol;
pub mod secret;
pub mod supervision;
pub mod transport;
pub mod wire;
