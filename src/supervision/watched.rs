//! Actors that get stuck, noticed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::{Instant, timeout};

/// How long an actor may be at one message unless its supervisor says otherwise. What handlers wait for has limits of ten
/// seconds and less.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// An actor was at one message for longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor is stuck: it has been at one message for {} s", .0.as_secs_f64())]
pub struct Stuck(Duration);

/// Since when an actor has been at a message. Clones see the same actor.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Option<Instant>>>);

impl Progress {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has been at its present message, if it is at one.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        self.since().map(|since| since.elapsed())
    }

    /// It is at a message until what this returns is dropped.
    fn begin(&self) -> Busy<'_> {
        *self.since() = Some(Instant::now());
        Busy(self)
    }
}

struct Busy<'a>(&'a Progress);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.since() = None;
    }
}

/// An actor that fails with [`Stuck`] when a handler waits for too long: the handler is dropped where it waits, and the
/// state after it, as with any other failure.
///
/// A handler that does not wait but holds its thread cannot be ended. Its supervisor can see it in the actor's progress.
pub(crate) struct Watched<A> {
    actor: A,
    limit: Duration,
    progress: Progress,
}

impl<A: Actor> Watched<A> {
    pub(crate) fn new(actor: A, limit: Duration) -> Self {
        Self { actor, limit, progress: Progress::default() }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    async fn watch(
        &self,
        handler: impl Future<Output = Result<(), ActorProcessingErr>>,
    ) -> Result<(), ActorProcessingErr> {
        let _busy = self.progress.begin();
        timeout(self.limit, handler).await.map_err(|_| Stuck(self.limit))?
    }
}

impl<A: Actor> Actor for Watched<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<A::Msg>,
        arguments: A::Arguments,
    ) -> Result<A::State, ActorProcessingErr> {
        self.actor.pre_start(myself, arguments).await
    }

    async fn post_start(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.post_start(myself, state)).await
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        // Whoever stops an actor waits for it, and kills it when that takes too long.
        self.actor.post_stop(myself, state).await
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.handle(myself, message, state)).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.handle_supervisor_evt(myself, event, state)).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Waits for what it is sent; tells when its state is dropped.
    struct Waiter;

    struct Dropped(Option<oneshot::Sender<()>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }

    impl Actor for Waiter {
        type Msg = oneshot::Receiver<()>;
        type State = Dropped;
        type Arguments = oneshot::Sender<()>;

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            dropped: oneshot::Sender<()>,
        ) -> Result<Dropped, ActorProcessingErr> {
            Ok(Dropped(Some(dropped)))
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            message: Self::Msg,
            _: &mut Dropped,
        ) -> Result<(), ActorProcessingErr> {
            Ok(message.await?)
        }
    }

    /// Tells of its children's failures.
    struct Supervisor;

    impl Actor for Supervisor {
        type Msg = ();
        type State = mpsc::UnboundedSender<String>;
        type Arguments = mpsc::UnboundedSender<String>;

        async fn pre_start(
            &self,
            _: ActorRef<()>,
            failures: Self::Arguments,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(failures)
        }

        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            event: SupervisionEvent,
            failures: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if let SupervisionEvent::ActorFailed(_, error) = event {
                failures.send(error.to_string())?;
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stuck_handler__should_fail_its_actor_and_drop_its_state() {
        let (sender, mut failures) = mpsc::unbounded_channel();
        let (supervisor, _) = Actor::spawn(None, Supervisor, sender).await.unwrap();
        let (dropped, is_dropped) = oneshot::channel();
        let watched = Watched::new(Waiter, LIMIT);
        let progress = watched.progress();
        let (actor, _) = Actor::spawn_linked(None, watched, dropped, supervisor.get_cell()).await.unwrap();

        // One that takes its time is not stuck.
        let (done, slow) = oneshot::channel();
        actor.cast(slow).unwrap();
        tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
        assert_eq!(progress.busy_for(), Some(LIMIT - Duration::from_secs(1)));
        done.send(()).unwrap();

        let (_never, forever) = oneshot::channel();
        actor.cast(forever).unwrap();
        let begun = Instant::now();
        let failure = failures.recv().await.unwrap();
        assert!(failure.contains("stuck"), "{failure}");
        assert_eq!(begun.elapsed(), LIMIT);
        is_dropped.await.unwrap();
        assert_eq!(progress.busy_for(), None);
    }
}
