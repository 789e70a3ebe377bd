//! One supervised child: started, recognised in events, joined, started again.

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::watched::{Progress, Watched};
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
    stuck_after: Duration,
    progress: Progress,
}

impl<M: Message> Child<M> {
    /// A child that is not running yet, answering at `address` when it is. It fails when it is at one message for
    /// `stuck_after`.
    #[must_use]
    pub fn new(address: Address<M>, limit: RestartLimit, stuck_after: Duration) -> Self {
        let (intensity, progress) = (Intensity::new(limit), Progress::default());
        Self { address, life: None, intensity, stuck_after, progress }
    }

    /// Starts a life of the child, linked to `supervisor`. It answers at its address before it does anything but start:
    /// whatever it sets in motion finds it there. Where a life runs already, there is no second one: an order to start again
    /// may come late.
    ///
    /// # Errors
    /// When the actor's `pre_start` fails.
    pub async fn start<A: Actor<Msg = M>>(
        &mut self,
        actor: A,
        arguments: A::Arguments,
        supervisor: ActorCell,
    ) -> Result<(), SpawnErr> {
        if self.life.is_some() {
            return Ok(());
        }
        let actor = Watched::new(actor, self.stuck_after);
        self.progress = actor.progress();
        let bound = Bound { actor, address: self.address.clone() };
        match Actor::spawn_linked(None, bound, arguments, supervisor).await {
            Ok(life) => {
                self.life = Some(life);
                Ok(())
            }
            Err(error) => {
                self.address.unbind();
                Err(error)
            }
        }
    }

    /// Whether an event is about the current life of this child.
    #[must_use]
    pub fn is(&self, cell: &ActorCell) -> bool {
        self.life.as_ref().is_some_and(|(actor, _)| actor.get_id() == cell.get_id())
    }

    /// Whether it has been at one message for twice as long as it may be: then its handler holds a thread and cannot be
    /// ended.
    #[must_use]
    pub fn holds_thread(&self) -> bool {
        self.life.is_some() && self.progress.busy_for().is_some_and(|busy| busy >= self.stuck_after * 2)
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

/// An actor that takes its address as soon as it has started, and before its loop runs.
struct Bound<A: Actor> {
    actor: A,
    address: Address<A::Msg>,
}

impl<A: Actor> Actor for Bound<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<A::Msg>,
        arguments: A::Arguments,
    ) -> Result<A::State, ActorProcessingErr> {
        let state = self.actor.pre_start(myself.clone(), arguments).await?;
        self.address.bind(myself);
        Ok(state)
    }

    async fn post_start(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.actor.post_start(myself, state).await
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.actor.post_stop(myself, state).await
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.actor.handle(myself, message, state).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.actor.handle_supervisor_evt(myself, event, state).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts, or refuses to; outlives its children.
    struct Player;

    impl Actor for Player {
        type Msg = ();
        type State = ();
        type Arguments = Result<(), &'static str>;

        async fn pre_start(&self, _: ActorRef<()>, starts: Self::Arguments) -> Result<(), ActorProcessingErr> {
            Ok(starts?)
        }

        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            _: SupervisionEvent,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn bound_actor__should_be_at_its_address_before_it_runs() {
        let (actor, _) = Actor::spawn(None, Player, Ok(())).await.unwrap();
        let bound = Bound { actor: Player, address: Address::unbound() };
        assert!(bound.pre_start(actor.clone(), Err("no")).await.is_err());
        assert!(bound.address.current().is_none());
        bound.pre_start(actor.clone(), Ok(())).await.unwrap();
        assert_eq!(bound.address.current().unwrap().get_id(), actor.get_id());
    }

    #[tokio::test]
    async fn child__should_be_at_its_address_for_as_long_as_it_runs() {
        let (supervisor, _) = Actor::spawn(None, Player, Ok(())).await.unwrap();
        let address = Address::unbound();
        let limit = RestartLimit { restarts: 1, within: Duration::from_secs(1), backoff: Duration::ZERO };
        let mut child = Child::new(address.clone(), limit, Duration::from_secs(1));
        assert!(child.start(Player, Err("no"), supervisor.get_cell()).await.is_err());
        assert!(address.current().is_none());
        for _ in 0..2 {
            child.start(Player, Ok(()), supervisor.get_cell()).await.unwrap();
            let life = address.current().unwrap().get_id();
            child.start(Player, Ok(()), supervisor.get_cell()).await.unwrap();
            assert_eq!(address.current().unwrap().get_id(), life, "one life at a time");
            assert!(child.is(&address.current().unwrap().get_cell()));
            child.stop(Duration::from_secs(1)).await;
            assert!(address.current().is_none());
        }
    }
}
