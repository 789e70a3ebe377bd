//! One supervised child: started, recognised in events, joined, started again.

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, Message, SpawnErr};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Address, Intensity, RestartLimit, Verdict};

/// How long a supervisor waits for the former life of a child to be gone, state and all.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// The former life of the child did not end in time: its state may still hold secrets or locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor's former life did not end in time")]
pub struct JoinTimeout;

/// A child and the address at which its current life answers.
///
/// The runtime reports a failure before the failed actor's state is dropped. [`Child::join`] waits for the drop, so
/// that a successor never meets the lock, the port or the secrets of its predecessor.
pub struct Child<M> {
    address: Address<M>,
    life: Option<(ActorRef<M>, JoinHandle<()>)>,
    intensity: Intensity,
}

impl<M: Message> Child<M> {
    /// A child that is not running yet, answering at `address` when it is.
    #[must_use]
    pub fn new(address: Address<M>, limit: RestartLimit) -> Self {
        Self { address, life: None, intensity: Intensity::new(limit) }
    }

    /// Starts a life of the child, linked to `supervisor`.
    ///
    /// # Errors
    /// When the actor's `pre_start` fails.
    pub async fn start<A: Actor<Msg = M>>(
        &mut self,
        actor: A,
        arguments: A::Arguments,
        supervisor: ActorCell,
    ) -> Result<(), SpawnErr> {
        let (actor, handle) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
        self.address.bind(actor.clone());
        self.life = Some((actor, handle));
        Ok(())
    }

    /// Whether an event is about the current life of this child.
    #[must_use]
    pub fn is(&self, cell: &ActorCell) -> bool {
        self.life.as_ref().is_some_and(|(actor, _)| actor.get_id() == cell.get_id())
    }

    /// Takes note of a failure: restart, and after which pause, or give up.
    pub fn failed(&mut self) -> Verdict {
        self.intensity.failed(Instant::now())
    }

    /// Waits until the current life is gone, its state dropped.
    ///
    /// # Errors
    /// When that takes longer than ten seconds.
    pub async fn join(&mut self) -> Result<(), JoinTimeout> {
        self.address.unbind();
        match self.life.take() {
            Some((_, handle)) => timeout(JOIN_LIMIT, handle).await.map(|_| ()).map_err(|_| JoinTimeout),
            None => Ok(()),
        }
    }

    /// Asks the child to stop, lets it finish what it is at, and waits until it is gone; kills it after `limit`.
    pub async fn stop(&mut self, limit: Duration) {
        self.address.unbind();
        let Some((actor, mut handle)) = self.life.take() else { return };
        actor.stop(None);
        if timeout(limit, &mut handle).await.is_err() {
            actor.kill();
            // A handler that blocks its thread cannot be killed; there is nothing left to wait for then.
            let _ = timeout(JOIN_LIMIT, handle).await;
        }
    }
}
