//! The gateway actor: starts the tasks that serve clients, watches them, and ends them in good order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::GatewaySettings;
use super::desk::Desk;
use super::native::{self, Place, Rooms};
use super::queue::{self, Queue, Shared};
use super::reshare;
use crate::nats::Connection;

/// What the gateway takes.
pub enum GatewayMsg {
    /// Takes no more requests; answers when all that were taken are answered.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<GatewaySnapshot>),
    /// A serving task ended, by a panic or because it was told to.
    Ended(Result<(), TaskFailed>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

/// A serving task panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task that serves clients failed: {0}")]
pub struct TaskFailed(String);

/// What can be observed of the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewaySnapshot {
    /// Messages taken from the streams of requests.
    pub taken: u64,
    /// Results that the server has acknowledged.
    pub answered: u64,
    /// Messages given back for another try.
    pub given_back: u64,
}

/// What the gateway is started with.
#[derive(Clone)]
pub struct GatewayArgs {
    /// What the operator decided.
    pub settings: GatewaySettings,
    /// The broker towards clients: a connection of its own, so that they cannot hold up the links.
    pub connection: Connection,
    /// The node.
    pub desk: Desk,
}

/// What the gateway owns.
pub struct GatewayState {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
    running: usize,
    draining: Option<RpcReplyPort<()>>,
}

/// Serves clients over NATS.
pub struct GatewayActor;

impl Actor for GatewayActor {
    type Msg = GatewayMsg;
    type State = GatewayState;
    type Arguments = GatewayArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<GatewayMsg>,
        args: GatewayArgs,
    ) -> Result<GatewayState, ActorProcessingErr> {
        let GatewayArgs { settings, connection, desk } = args;
        let shared = Arc::new(Shared::new(desk, connection));
        let (stop, stopped) = watch::channel(false);
        let mut state = GatewayState { shared, stop, serving: Vec::new(), running: 0, draining: None };
        if settings.mpcium {
            for queue in Queue::ALL {
                let room = match queue {
                    Queue::Keygen => settings.keygen_in_flight,
                    Queue::Signing => settings.signing_in_flight,
                };
                let shared = Arc::clone(&state.shared);
                state.spawn(&myself, queue::serve(shared, queue, room, stopped.clone()));
            }
            let (shared, room) = (Arc::clone(&state.shared), settings.keygen_in_flight);
            state.spawn(&myself, reshare::serve(shared, room, stopped.clone()));
        }
        // Other nodes hand on what comes to them, however it does.
        let places = if settings.native { &[Place::Here, Place::Cluster][..] } else { &[Place::Here] };
        for &place in places {
            let rooms = Rooms::new(settings.keygen_in_flight, settings.signing_in_flight);
            let shared = Arc::clone(&state.shared);
            state.spawn(&myself, native::serve(shared, place, rooms, stopped.clone()));
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<GatewayMsg>,
        message: GatewayMsg,
        state: &mut GatewayState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GatewayMsg::Drain(reply) => {
                // Without tasks nobody listens, and nothing is at work.
                let _ = state.stop.send(true);
                state.draining = Some(reply);
            }
            GatewayMsg::Snapshot(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(state.snapshot());
            }
            GatewayMsg::Ended(Ok(())) => state.running = state.running.saturating_sub(1),
            GatewayMsg::Ended(Err(failed)) => return Err(failed.into()),
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            GatewayMsg::InjectPanic => panic!("injected"),
        }
        if state.running == 0
            && let Some(reply) = state.draining.take()
        {
            let _ = reply.send(());
        }
        Ok(())
    }
}

impl GatewayState {
    /// Starts a serving task, and has its end reported.
    fn spawn(&mut self, myself: &ActorRef<GatewayMsg>, serving: impl Future<Output = ()> + Send + 'static) {
        let (task, myself) = (tokio::spawn(serving), myself.clone());
        self.running += 1;
        let abort = task.abort_handle();
        self.serving.push(tokio::spawn(async move {
            let _aborted_with_this = AbortOnDrop(abort);
            let ended = task.await.map_err(|error| TaskFailed(error.to_string()));
            // A gateway that is gone has nothing left to watch.
            let _ = myself.cast(GatewayMsg::Ended(ended));
        }));
    }

    fn snapshot(&self) -> GatewaySnapshot {
        let counters = &self.shared.counters;
        GatewaySnapshot {
            taken: counters.taken.load(Ordering::Relaxed),
            answered: counters.answered.load(Ordering::Relaxed),
            given_back: counters.given_back.load(Ordering::Relaxed),
        }
    }
}

impl Drop for GatewayState {
    fn drop(&mut self) {
        // What was taken and not answered is delivered again, here or elsewhere.
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

/// Ends the serving task together with the one that watches it.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
