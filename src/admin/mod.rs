//! The operator's way to a running node: a Unix socket on the node's own machine.
//!
//! ```text
//!  quorate backup create, storage rekey, seal, unseal, status
//!      │ one line of JSON
//!      ▼
//!  <data_dir>/<name>.sock   mode 0600, peers of the node's own user or root only
//!      │ Command
//!      ▼
//!  server ──▶ backup · storage · node ──▶ Answer, one line of JSON
//! ```
//!
//! One command per connection. Secrets travel in commands, so that they never stand among the arguments of a process.
//! Whoever may connect may do all of this; nobody else gets as far as a line.

mod actor;
mod client;
mod endpoint;
mod execute;
mod server;
#[cfg(test)]
mod tests;
mod words;

pub use actor::{AdminActor, AdminArgs, AdminMsg, ServerEnded};
pub use client::{AskError, ask, ask_within};
pub use endpoint::{AdminEndpoint, AdminError, socket_path};
pub use words::{Answer, BackupDone, BackupStatus, Command, Done, NodeState, Refused, Secret};

/// The longest line, in bytes, in either direction.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
