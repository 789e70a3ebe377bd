//! The link to one peer: an actor around [`state::Link`], which decides everything.
//!
//! Supervised by the transport. It *fails* on whatever ends the link (see [`DownReason`]) and never recovers by itself:
//! the transport joins it, reports the loss and starts a new life with new keys.
//!
//! Cryptography runs in the handler: sealing and opening are symmetric and bounded by the longest message (256 KiB,
//! under a millisecond), a handshake message costs about 0.3 ms and their number per second is bounded.

mod actor;
mod beats;
mod counters;
mod handshakes;
pub(crate) mod message;
mod publisher;
mod state;
#[cfg(test)]
mod tests;

pub use counters::LinkTraffic;
pub use message::Readiness;

pub(super) use actor::{LinkActor, LinkArgs, LinkMsg, Report};
pub(super) use counters::Counters;
pub(super) use state::Dropped;

#[cfg(doc)]
use crate::transport::DownReason;
