//! What the actor's tasks report.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Reshared;
use super::adopting::Adopted;
use super::prepare::{Admitted, Prepared};
use super::refreshing::DueRefreshes;
use super::run::{Held, Waiter};
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::keys::Signature;
use crate::session::{Built, SheetContext};
use crate::storage::StorageError;
use crate::wire::message::PendingOutcome;

/// What a task that the actor started reports.
pub struct TaskDone(pub(super) Work);

/// One of them.
pub(super) enum Work {
    /// A client's request is checked and read in.
    Prepared { reply: Waiter, result: Result<Admitted, Failure> },
    /// A reshare begins once more, dealt by others.
    Again { prepared: Arc<Prepared>, waiters: Vec<Waiter>, without: BTreeSet<NodeId> },
    /// A peer's proposal to deal keys is checked.
    Checked { from: NodeId, session: SheetHash, result: Result<Box<(SheetContext, Prepared)>, Code> },
    /// What came of a session is durable, and the record is signed.
    Pended { session: SheetHash, result: Result<Held, Code> },
    /// The time for the commit is over.
    CommitDeadline(SheetHash),
    /// The engine that is to prove a key is built, for a session that this node or a peer proposes.
    Provable { from: NodeId, session: SheetHash, result: Result<Box<Built<Signature>>, Code> },
    /// The certificate that this node put together is in force, or not.
    Certified { wallet: WalletId, session: SheetHash, result: Result<Adopted, Code> },
    /// The certificate that a peer gave is in force, or not.
    Told { from: NodeId, wallet: WalletId, result: Result<(SheetHash, Adopted), Code> },
    /// What was pending is set aside, or not.
    SetAside { wallet: WalletId, session: SheetHash, result: Result<(), Code> },
    /// The answer to a peer's query is read from the store.
    Answer { to: NodeId, wallet: WalletId, session: SheetHash, outcome: PendingOutcome },
    /// Time to ask about what is pending, and to tell what others do not know.
    Look,
    /// Deleted shares are out of the store's files, or not.
    Purged(Result<(), StorageError>),
    /// The wallets that are to be refreshed unasked, and how old the shares of all such wallets are.
    DueRefreshes(Result<DueRefreshes, Code>),
    /// A refresh that this node began unasked is over.
    Refreshed { wallet: WalletId, result: Result<Reshared, Failure> },
}
