//! One supervised child: started, recognised in events, joined, started again.

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent};
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

    /// Starts a life of the child, linked to `supervisor`. It answers at its address before it does anything but start:
    /// whatever it sets in motion finds it there.
    ///
    /// # Errors
    /// When the actor's `pre_start` fails.
    pub async fn start<A: Actor<Msg = M>>(
        &mut self,
        actor: A,
        arguments: A::Arguments,
        supervisor: ActorCell,
    ) -> Result<(), SpawnErr> {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts the lives whose first step does not find them at their address.
    struct Newborn;

    struct Nobody;

    impl Actor for Newborn {
        type Msg = Nobody;
        type State = (Address<Nobody>, Arc<AtomicUsize>);
        type Arguments = Self::State;

        async fn pre_start(
            &self,
            _: ActorRef<Nobody>,
            arguments: Self::Arguments,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(arguments)
        }

        async fn post_start(
            &self,
            myself: ActorRef<Nobody>,
            (address, lost): &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if address.current().is_none_or(|current| current.get_id() != myself.get_id()) {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    }

    /// Supervises nothing but the children of the test.
    struct Parent;

    impl Actor for Parent {
        type Msg = Nobody;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Nobody>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<Nobody>,
            _: SupervisionEvent,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            // By default, a supervisor ends with its first child.
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn child__should_answer_at_its_address_before_its_first_step() {
        let (parent, joined) = Actor::spawn(None, Parent, ()).await.unwrap();
        let (address, lost) = (Address::unbound(), Arc::new(AtomicUsize::new(0)));
        let limit = RestartLimit { restarts: 1, within: Duration::from_secs(1), backoff: Duration::ZERO };
        let mut child = Child::new(address.clone(), limit);
        for _ in 0..500 {
            let arguments = (address.clone(), Arc::clone(&lost));
            child.start(Newborn, arguments, parent.get_cell()).await.unwrap();
            child.stop(Duration::from_secs(5)).await;
            assert!(address.current().is_none());
        }
        assert_eq!(lost.load(Ordering::Relaxed), 0);
        parent.stop(None);
        joined.await.unwrap();
    }
}
