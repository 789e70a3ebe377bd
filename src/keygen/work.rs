//! What the actor's tasks report.

use std::sync::Arc;

use ractor::RpcReplyPort;

use super::actor::Waiter;
use super::prepare::{Admitted, NotActivated, Prepared};
use super::quarantine::StoredWallet;
use super::run::Signature;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::session::SheetContext;
use crate::wallet::WalletCertificate;
use crate::wire::message::PendingOutcome;

/// What a task that the actor started reports.
pub struct TaskDone(pub(super) Work);

/// One of them.
pub(super) enum Work {
    Prepared {
        reply: Waiter,
        /// How many wallets had become active here when the store was looked into.
        activated: u64,
        result: Result<Admitted, Failure>,
    },
    Checked {
        from: NodeId,
        session: SheetHash,
        result: Result<Box<(SheetContext, Prepared)>, Code>,
    },
    /// The new shares are durable, and the record is signed.
    Pended {
        session: SheetHash,
        result: Result<Signature, Code>,
    },
    /// The shares are active, or not.
    Activated {
        wallet: WalletId,
        session: SheetHash,
        result: Result<Arc<WalletCertificate>, NotActivated>,
    },
    /// The time for gathering signatures is over.
    CommitDeadline(SheetHash),
    /// Time to ask the members about pending shares again.
    Resolve,
    /// The mark of a wallet in quarantine is removed, or not: it was confirmed, or its operator said so.
    Lifted {
        wallet: WalletId,
        result: Result<(), Code>,
        reply: Option<RpcReplyPort<Result<(), Failure>>>,
    },
    /// What a wallet in quarantine is by this node's store, after it has come into force, or a member said that it knows it
    /// otherwise.
    Reread {
        from: Option<NodeId>,
        wallet: WalletId,
        result: Result<Option<StoredWallet>, Code>,
    },
    /// Pending shares are set aside, or not.
    SetAside {
        wallet: WalletId,
        session: SheetHash,
        result: Result<(), Code>,
    },
    /// The answer to a member's query is read from the store.
    Answer {
        to: NodeId,
        wallet: WalletId,
        session: SheetHash,
        outcome: PendingOutcome,
    },
}
