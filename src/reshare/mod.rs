//! Resharing: from a client's request to a wallet whose keys are held by another committee, or by the same with other
//! shares, certified by all and by the keys themselves; or to one typed failure, and a wallet that is what it was.
//!
//! ```text
//!            session                pending               proved                    certified
//!   request ──dealing──▶ shares ──store, fsync──▶ sign record, ──all sign──▶ t of the new members ──▶ certificate to all:
//!                          │                      send it                    sign with new shares     new shares active,
//!                          └ abort: nothing stored      └ peer lost, deadline, crash: *resolution*    old ones erased
//! ```
//!
//! A refresh is a reshare to the committee that there is, with its threshold. A repair is the same, dealt by those who still
//! have their shares.
//!
//! Everybody who takes part stores what it got as *pending*, be it nothing but the record, before it signs the record;
//! whoever has dealt deals no second time before it knows what became of the first. With the signatures of all, t of the
//! new members prove each key with their pending shares, and that makes the certificate. A node that learns the certificate
//! puts it in the place of the old one, makes its new shares active, and erases its old ones: in one write. It tells
//! everybody concerned, until they say that they know, also those who were away.
//!
//! A node that holds something pending without a certificate asks the others. One with the certificate lets it go on. If all
//! signed, one of them makes the proofs. If somebody holds nothing, the reshare is over: what was pending is set aside, and
//! the old shares are what counts; should a certificate turn up all the same, the shares are still there.
//!
//! Until a node learns the certificate it signs with the old shares.
//!
//! Where the operators want it, wallets are refreshed unasked when their shares have the age that is set for them: one member
//! begins, and the others take part if the wallet is due by their own configuration. Nobody's signature is needed for that,
//! since neither committee nor threshold changes.

mod actor;
mod adopting;
mod args;
mod committing;
mod coordinate;
mod plan;
mod prepare;
mod proving;
mod purging;
mod refreshing;
mod resolution;
mod run;
mod schedule;
mod settling;
mod telling;
#[cfg(test)]
mod tests;
mod work;

pub use actor::{ReshareActor, ReshareMsg, ReshareSnapshot};
pub use args::ReshareArgs;
pub(crate) use purging::{clear_erased, note_erased};
pub use refreshing::RefreshAges;
#[cfg(test)]
pub(crate) use telling::some_reshare_notes;
pub(crate) use telling::{is_reshare_note, notices_prefix};

use std::sync::Arc;

use crate::wallet::WalletCertificate;

/// A reshare's successful end.
#[derive(Debug, Clone)]
pub struct Reshared {
    /// The wallet, as certified by all its new members and by its keys.
    pub certificate: Arc<WalletCertificate>,
    /// Whether it was reshared just now; otherwise the same request did so before.
    pub fresh: bool,
}

/// A certificate has come into force on this node: shares of earlier generations are erased, and whatever runs with them
/// must end.
#[derive(Debug, Clone)]
pub struct Switched(pub Arc<WalletCertificate>);
