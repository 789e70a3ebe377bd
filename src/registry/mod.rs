//! Who is there: which peers are alive, linked, serving and paired, as one view that everybody decides by.
//!
//! The peer book says who is trusted; nothing here can add to it. A peer counts as *ready* when all hold: its lease in
//! the discovery backend is alive, the link to it is up in both directions, it says that it serves, and, for ECDSA, both
//! sides hold the same epoch of their pair setup.
//!
//! ```text
//!   discovery ──leases──▶ ┐
//!   transport ──PeerEvent▶├─ registry ──Arc<View>──▶ keygen, signing, node
//!   pairing ──Pairs──────▶┘
//! ```

mod actor;
mod announcement;
mod discovery;
mod nats_kv;
mod quorum;
mod view;

pub use actor::{RegistryActor, RegistryArgs, RegistryMsg};
pub use announcement::{AnnounceError, Announcements, announcement_bucket};
pub use discovery::{Discovery, DiscoveryError, LeaseEvent, MemoryDiscovery};
pub use nats_kv::{KvDiscovery, KvOptions};
pub use quorum::{TooFewReady, choose_quorum};
pub use view::{PeerStatus, View};
