//! The connection to a NATS server: what the links, the leases, the gateway and the client library share.
//!
//! ```text
//!   Options ──connect──▶ Connection ──client()──▶ publish, subscribe, JetStream
//!                            │
//!                            └──status()──▶ watch: connected, losses, violations, slow consumers
//! ```
//!
//! Promises: once made, a connection comes back by itself, with growing pauses that differ from node to node. The server
//! answers a publish or subscribe that it does not permit with nothing but a line that has no owner: here it is logged
//! and counted, and whoever [claims](Connection::claim) the subject learns that it was denied. Servers that are too old
//! to work with are refused.
//!
//! Secrets are in no log, error or `Debug` output. The NATS library keeps its own copies of them, as plain strings, for
//! as long as the connection lives: a reconnect needs them.

mod bucket;
mod connection;
mod error;
mod options;
mod status;
mod version;

pub use bucket::{Bucket, BucketError};
pub use connection::{Connection, connect};
pub use error::ConnectError;
pub use options::{Credentials, Options, Tls};
pub use status::Status;
pub use version::Version;
