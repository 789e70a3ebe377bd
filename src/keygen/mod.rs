//! Key generation: from a client's request to a wallet that all nodes have certified, or one typed failure.
//!
//! ```text
//!            session              pending              certified
//!   request ───DKG──▶ shares ──store, fsync──▶ sign record, send ──all n signatures──▶ active ──▶ success
//!                        │                          │
//!                        └ abort: nothing stored    └ peer lost, deadline, crash: *resolution*
//! ```
//!
//! A share is stored as *pending* before its node signs the wallet record; with the signatures of all, the certificate,
//! it becomes *active*. So if a certificate exists anywhere, every member's share is durable. A node that holds a
//! pending share without a certificate asks the others: one with the certificate lets it activate; signatures of all the
//! others let it make the certificate; and if one of them never signed and none has a certificate, there can be none,
//! and it sets the share aside and frees the name.
//!
//! The same question is asked about wallets that came back out of a backup: see [`crate::wallet::Confirmation`].

mod actor;
mod committing;
mod coordinate;
mod prepare;
mod quarantine;
mod resolution;
mod run;
mod settling;
#[cfg(test)]
mod tests;
mod work;

pub use actor::{KeygenActor, KeygenMsg, KeygenSnapshot};
pub use prepare::KeygenArgs;
pub(crate) use prepare::is_content_record;
pub use resolution::{Resolution, Verdict};

use std::sync::Arc;

use crate::wallet::WalletCertificate;

/// A key generation's successful end.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The wallet, as certified by all its members.
    pub certificate: Arc<WalletCertificate>,
    /// Whether it was made just now; otherwise the same request made it before.
    pub fresh: bool,
}
