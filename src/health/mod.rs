//! Health and metrics over HTTP: whether a node lives, whether it can sign, and what it has done.
//!
//! | `GET` | answers |
//! |---|---|
//! | `/live` | 200 for as long as the node's process serves at all |
//! | `/health` | 200 while enough nodes are ready to sign, seen from this one; otherwise 503. JSON in mpcium's form |
//! | `/ready` | the same |
//! | `/metrics` | the node's metrics in the text form of OpenMetrics 1.0 |
//!
//! ```text
//!   server ──▶ routes ──▶ report    the view, as JSON
//!                    └──▶ sources ── Snapshot ─▶ storage, transport, pairing, keygen, signing, gateway
//!                            └──▶ page    what they answered, what the recorder counted
//! ```
//!
//! Promises: no answer holds a secret or a wallet's name. Whoever can connect can cost the node a bounded amount of
//! memory and work, and can keep nobody else from an answer by being slow: connections serve one request each, have
//! limits on size and time, and the oldest gives way to one too many. An actor that does not answer costs its numbers,
//! not the others'.

mod actor;
mod endpoint;
mod last_seen;
mod page;
mod report;
mod routes;
mod server;
mod sources;
#[cfg(test)]
mod tests;

pub use actor::{HealthActor, HealthArgs, HealthMsg};
pub use endpoint::{BindError, Endpoint};
