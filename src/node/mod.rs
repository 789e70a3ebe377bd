//! One node: the root supervisor and the handle that everything outside holds.
//!
//! ```text
//! node ─┬─ storage          the store; without it nothing is safe
//!       ├─ registry         who is there
//!       ├─ pairing          pair setups and bans ── session:<id>
//!       ├─ keygen           new wallets ─────────── session:<id>
//!       ├─ signing          signatures ──────────── session:<id>
//!       ├─ reshare          other committees ────── session:<id>
//!       ├─ checkup          do all shares work? ─── session:<id>
//!       ├─ transport        the broker ──────────── link:<peer>
//!       ├─ gateway          the clients, where they come over a broker
//!       ├─ health           health and metrics over HTTP
//!       ├─ backup           backups, when they are due and when they are asked for
//!       └─ admin            the operator's socket
//! ```

mod actor;
mod handle;
mod parts;
mod sealing;
mod settings;
#[cfg(test)]
mod tests;

pub use actor::{Addresses, Backups, Gateway, NodeActor, NodeArgs, NodeMsg};
pub use handle::{NodeHandle, StartError};
pub(crate) use handle::{RESHARE_ATTEMPTS, ask};
pub use sealing::{SealError, UnsealError};
pub use settings::Settings;
