//! What clients reach a node by: mpcium's streams, and requests that are answered directly.
//!
//! ```text
//!  mpc-keygen  ─┐  pull, as many as there is room for        ┌─ keygen
//!  mpc-signing ─┴─▶ queue ──▶ desk ──▶ the node's actors ────┴─ signing
//!                     ▲         │
//!                     │         └─▶ mpc (result, acknowledged by the server) ──▶ acknowledge the request
//!                     └── not now: give it back
//!
//!  mpc:reshare ─▶ reshare, on one of the nodes that hold the wallet ─▶ mpc (result)
//!
//!  quorate.<cluster>.v1.<operation> ─▶ native ─▶ the node's actors ─▶ reply
//!                                               │ no such key here
//!                                               └─▶ relay ─▶ quorate.<cluster>.v1.at.<node>.<operation> ─▶ a member
//! ```
//!
//! Promises: a request is acknowledged only when its result is in the stream of results. A request that is delivered
//! again, here or to another node, leads to the same result under the same de-duplication id. What a node takes has a
//! bound; what it cannot take now it leaves to others. Requests wait while a node that has just found the broker
//! looks for its peers, and are given back when the broker is lost under them. The gateway knows no cryptography:
//! whether a request is allowed is decided by every node that takes part.

mod actor;
mod answer;
mod desk;
mod native;
mod queue;
mod relay;
mod reshare;
mod streams;

pub use actor::{GatewayActor, GatewayArgs, GatewayMsg, GatewaySnapshot};
#[cfg(any(test, feature = "testing"))]
pub(crate) use answer::text_field;
pub use desk::Desk;
pub(crate) use native::status;

/// What an operator decides about the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Whether requests are taken from mpcium's streams.
    pub mpcium: bool,
    /// Whether requests are answered directly.
    pub native: bool,
    /// How many key generations this node takes before it has answered them.
    pub keygen_in_flight: usize,
    /// How many signings this node takes before it has answered them.
    pub signing_in_flight: usize,
}
