//! One group on its way to the disk and back to its callers, on a thread of the blocking pool.

use std::time::{Duration, Instant};

use ractor::{ActorRef, RpcReplyPort};

use super::actor::{OpenStore, answer};
use super::faults::{Met, Point};
use super::{Batch, Durability, Faults, StorageError, StorageMsg};
use crate::sabotage::{self, Flaw};

/// A write that was accepted.
pub(super) struct Write {
    pub batch: Batch,
    pub durability: Durability,
    pub reply: RpcReplyPort<Result<(), StorageError>>,
}

/// What came of a group whose callers have all been answered.
pub(super) struct GroupReport {
    /// How many writes it had.
    pub writes: usize,
    /// How many of them were not written for a reason of their own.
    pub unwritten: usize,
    /// Whether it was synced.
    pub synced: bool,
    /// How long the disk took.
    pub took: Duration,
    /// Why it failed as a whole.
    pub failure: Option<StorageError>,
}

/// Writes that go to the disk together.
pub(super) struct Group {
    batches: Vec<Batch>,
    replies: Vec<RpcReplyPort<Result<(), StorageError>>>,
    durability: Durability,
    actor: ActorRef<StorageMsg>,
}

/// Tells the actor that the group is done, however it ended: a panic of the writer must not go unnoticed.
pub(super) struct Notice(ActorRef<StorageMsg>);

impl Notice {
    pub(super) const fn new(actor: ActorRef<StorageMsg>) -> Self {
        Self(actor)
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        // An actor that is no longer there needs no notice.
        let _ = self.0.cast(StorageMsg::Written);
    }
}

impl Group {
    /// A group, synced if one of its members is to be.
    pub(super) fn new(writes: Vec<Write>, actor: ActorRef<StorageMsg>) -> Self {
        let synced = writes.iter().any(|write| write.durability == Durability::Synced);
        let synced = synced && !sabotage::has(Flaw::SyncsNothing);
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        let (batches, replies) = writes.into_iter().map(|write| (write.batch, write.reply)).unzip();
        Self { batches, replies, durability, actor }
    }

    /// Writes the group and answers. A caller hears of success only when the disk has it all.
    pub(super) fn write(self, open: std::sync::Arc<OpenStore>, faults: &Faults) -> GroupReport {
        let Self { batches, replies, durability, actor } = self;
        let _notice = Notice(actor.clone());
        let begun = Instant::now();
        let written = match faults.meet(Point::BeforeWrite, &batches) {
            Met::Nothing => open.store.write_group(&batches, durability),
            Met::Failure(failure) => Err(failure),
            Met::Kill => return killed(&actor, &batches),
        };
        if written.is_ok() && durability == Durability::Synced {
            faults.synced(open.store.folder());
        }
        let written = match faults.meet(Point::AfterWrite, &batches) {
            Met::Nothing => written,
            Met::Failure(failure) => Err(failure),
            Met::Kill => return killed(&actor, &batches),
        };
        let (writes, took) = (batches.len(), begun.elapsed());
        match written {
            Ok(outcomes) => {
                let unwritten = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    answer(reply, outcome);
                }
                let synced = durability == Durability::Synced && unwritten < writes;
                GroupReport { writes, unwritten, synced, took, failure: None }
            }
            Err(failure) => {
                for reply in replies {
                    answer(reply, Err(failure.clone()));
                }
                GroupReport { writes, unwritten: writes, synced: false, took, failure: Some(failure) }
            }
        }
    }
}

fn killed(actor: &ActorRef<StorageMsg>, batches: &[Batch]) -> GroupReport {
    actor.kill();
    GroupReport { writes: batches.len(), unwritten: 0, synced: false, took: Duration::ZERO, failure: None }
}
