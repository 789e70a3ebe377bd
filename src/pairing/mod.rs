//! Pair setups: the oblivious-transfer state that two nodes share and every ECDSA signature between them uses.
//!
//! The pairing actor runs a setup with every peer whose announced epoch differs from its own, keeps the results in
//! memory and in the store, and keeps the bans. A pair is *current* when both sides hold the same epoch durably: each
//! side announces an epoch only after it has stored it, so an announcement is the proof.
//!
//! Where the operator wants it, setups are renewed when they are old. The former one stays beside the new one until that is
//! in force: sessions whose deadline is before then use the former one, on both sides, and later ones the new one. Once the
//! other side has announced the new one too and no session can use the former one any more, it is erased.
//!
//! A banned pair is never used and never set up again until an operator lifts the ban, which runs a new setup.

mod actor;
mod book;
mod records;
mod setups;
#[cfg(test)]
mod tests;

pub use actor::{PairingActor, PairingArgs, PairingMsg, PairingSnapshot};
pub use book::{PairBook, PairUnavailable};
#[cfg(any(test, feature = "testing"))]
pub(crate) use records::some_ban;
pub(crate) use records::{is_ban, is_pair};
pub use setups::Stored;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::error::Code;
use crate::ids::{NodeId, PartyIndex, SheetHash};
use crate::protocol::pair::PairState;
use crate::session::SheetContext;
use crate::supervision::{Address, CallError};

/// How long a session waits for a ban to be durable.
const BAN_WITHIN: Duration = Duration::from_secs(10);

/// The states of the pairs of `me` with all others of a session, by their index in it.
///
/// # Errors
/// The code of the first pair whose state cannot be had; [`Code::Internal`] when pairing does not answer in time.
pub(crate) async fn pair_states(
    pairing: &Address<PairingMsg>,
    sheet: &SheetContext,
    me: NodeId,
    within: Duration,
) -> Result<BTreeMap<PartyIndex, Arc<PairState>>, Code> {
    let (peers, deadline_ms) = (sheet.others(me).collect(), sheet.sheet.deadline_ms);
    let states = pairing.call(within, |reply| PairingMsg::States { peers, deadline_ms, reply }).await;
    let states = states.map_err(|_| Code::Internal)?.map_err(|error| error.code())?;
    Ok(states.into_iter().filter_map(|(node, state)| Some((sheet.sheet.index_of(node)?, state))).collect())
}

/// A ban could not be made durable. It holds in memory all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    /// The store failed.
    #[error("failed to store the ban")]
    Storage,
    /// The pairing actor did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The pair with this peer is banned from now on: whatever runs with it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Banned(pub NodeId);

/// Where a session makes a ban durable before it says anything else.
pub trait Bans: Send + Sync {
    /// Bans `peer` from ECDSA with this node, for every wallet, because of what it did in `session`.
    ///
    /// # Errors
    /// When the ban is not known to be durable.
    fn ban(&self, peer: NodeId, session: SheetHash) -> BoxFuture<'_, Result<(), BanError>>;
}

impl Bans for Address<PairingMsg> {
    fn ban(&self, peer: NodeId, session: SheetHash) -> BoxFuture<'_, Result<(), BanError>> {
        Box::pin(async move { self.call(BAN_WITHIN, |reply| PairingMsg::Ban { peer, session, reply }).await? })
    }
}
