//! A reshare at work.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::RpcReplyPort;

use super::Reshared;
use super::prepare::Prepared;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme, SheetHash};
use crate::session::{Aborted, SheetContext};
use crate::wallet::{Commit, Pending, WalletRecord};
use crate::wire::sheet::Task;

/// Where the answer to a client goes.
pub(super) type Waiter = RpcReplyPort<Result<Reshared, Failure>>;

/// How far a reshare is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The keys are dealt.
    Session,
    /// What came of it is being made durable.
    Storing,
    /// The run has failed while it was being made durable: what becomes of it is known when that is over. Until then this
    /// node must not say that it holds nothing.
    FailedStoring,
    /// The signatures are gathered; or all are there, and another node proves the keys.
    Committing,
    /// This node has the keys proved.
    Proving,
}

/// A reshare at work.
pub(super) struct Run {
    /// The request, and what it was checked against.
    pub prepared: Arc<Prepared>,
    pub waiters: Vec<Waiter>,
    pub sheet: Arc<SheetContext>,
    pub phase: Phase,
    /// The signatures of all who take part; those of faster ones come before this node has stored its own part.
    pub commit: Commit,
    /// What is pending here, once it is durable.
    pub own: Option<Held>,
    /// Nodes that turned out to have no share that they may use.
    pub without: BTreeSet<NodeId>,
}

/// What this node holds pending: the public part.
#[derive(Clone)]
pub(super) struct Held {
    pub session: SheetHash,
    pub record: Arc<[u8]>,
    pub signature: [u8; 64],
    /// The keys of which this node holds a new share; none where it is no new member.
    pub schemes: Vec<Scheme>,
    /// Everybody who must sign the record.
    pub signers: BTreeSet<NodeId>,
}

impl Run {
    /// Whether what others say or fail to say still matters.
    pub fn is_gathering(&self) -> bool {
        matches!(self.phase, Phase::Storing | Phase::Committing | Phase::Proving)
    }

    /// Who has the keys proved once all have signed: the coordinator if it is a new member, otherwise the first of those.
    pub fn prover(&self) -> Option<NodeId> {
        let Task::Reshare { committee, .. } = &self.sheet.sheet.task else { return None };
        let coordinator = committee.iter().find(|member| member.node == self.sheet.sheet.coordinator);
        coordinator.or(committee.first()).map(|member| member.node)
    }

    /// Whether `node` takes part.
    pub fn concerns(&self, node: NodeId) -> bool {
        self.sheet.sheet.index_of(node).is_some()
    }
}

impl Phase {
    /// What it is doing.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "dealing the keys",
            Self::Storing | Self::FailedStoring => "storing its shares",
            Self::Committing => "gathering the signatures",
            Self::Proving => "proving the keys",
        }
    }
}

impl Held {
    pub fn of(pending: &Pending) -> Self {
        let signers = WalletRecord::decode(&pending.record).map(|record| pending.signers(&record)).unwrap_or_default();
        Self {
            session: pending.session,
            record: pending.record.as_slice().into(),
            signature: pending.signature,
            schemes: pending.shares().map(|(scheme, _)| scheme).collect(),
            signers,
        }
    }
}

/// Answers everyone who waits.
pub(super) fn answer(waiters: Vec<Waiter>, answer: &Result<Reshared, Failure>) {
    for waiter in waiters {
        // A client that no longer waits finds the wallet reshared when it asks again.
        let _ = waiter.send(answer.clone());
    }
}

/// Why a run ends.
pub(super) struct Cause {
    pub code: Code,
    /// Who is to blame.
    pub culprits: BTreeSet<NodeId>,
    /// The peer that says so, where this node only hears of it.
    pub said_by: Option<NodeId>,
}

impl From<(Code, BTreeSet<NodeId>)> for Cause {
    /// What this node has found itself.
    fn from((code, culprits): (Code, BTreeSet<NodeId>)) -> Self {
        Self { code, culprits, said_by: None }
    }
}

impl From<Aborted> for Cause {
    fn from(aborted: Aborted) -> Self {
        Self { code: aborted.code, culprits: aborted.culprits, said_by: aborted.reported_by }
    }
}
