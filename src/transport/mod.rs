//! The links between nodes: authenticated, encrypted channels over a broker that is trusted with nothing but liveness.
//!
//! ```text
//!   sessions ──Send──▶ transport ──▶ link:<peer> ──seal──▶ broker: inbox subject of the peer
//!                          │ ▲            ▲
//!      PeerEvent ◀─────────┘ └─ reports   └── pump ◀────── broker: own inbox subject, always subscribed
//!      (registry, coordinators)                │
//!                                     link:<peer> ──open──▶ service (keygen, signing, pairing): Inbound
//! ```
//!
//! Promises: a message comes out of a link at most once, unaltered, and from the peer it names. Messages may be lost, and
//! may come out of order. A link that is up is either working or reported down within the heartbeat limit, exactly once;
//! then it comes back by itself, with new keys. An outsider who writes to the inbox costs computing time and nothing
//! else: what does not authenticate is counted and dropped.
//!
//! Supervision: every link is a child of the transport and *fails* on whatever ends it. The transport waits until the
//! failed one and its keys are gone, reports [`PeerEvent::Down`], and starts it again, with a growing pause where it
//! fails repeatedly; however often that happens, the transport does not fail of it. If the transport itself fails, its
//! links end with it, and those that were up are reported down before its successor starts.

mod actor;
pub mod broker;
mod config;
mod credit;
mod event;
mod forgery;
mod link;
pub mod memory;
pub mod nats;
pub mod noise;
mod pump;
#[cfg(test)]
mod tests;

pub use actor::{LinkSnapshot, TransportActor, TransportArgs, TransportMsg, TransportSnapshot, inbox_subject};
pub use config::LinkConfig;
pub use credit::Credit;
pub use event::{DownReason, Inbound, PeerEvent, Services};
pub use forgery::Forgery;
#[cfg(any(test, feature = "testing"))]
pub use forgery::Told;
#[cfg(any(test, feature = "testing"))]
pub(crate) use link::message as link_messages;
pub use link::{LinkTraffic, Readiness};
