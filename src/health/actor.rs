//! The health actor: starts the server, watches it, and ends it in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::Endpoint;
use super::last_seen::LastSeen;
use super::routes::{Node, routes};
use super::server::serve;
use crate::clock::Clock;
use crate::gateway::Desk;
use crate::nats::Status;
use crate::node::Addresses;

/// How long the server may take to end.
const STOP: Duration = Duration::from_secs(1);

/// What the health actor takes.
pub enum HealthMsg {
    /// The node is about to end: from now on it is not ready.
    Stopping,
    /// Whether the node is sealed from now on: then it is not ready.
    Sealed(bool),
    /// The server ended, which it does not do by itself.
    Ended(ServerEnded),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

/// The server ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server of health and metrics ended: {0}")]
pub struct ServerEnded(String);

/// What the health actor is started with.
#[derive(Clone)]
pub struct HealthArgs {
    /// Where it serves.
    pub endpoint: Endpoint,
    /// The node.
    pub desk: Desk,
    /// Whom to ask for numbers.
    pub addresses: Addresses,
    /// The broker as the gateway's clients reach it, where there is a gateway.
    pub clients: Option<watch::Receiver<Status>>,
    /// Whether it makes backups.
    pub backs_up: bool,
    /// The clock that says when a peer was last seen.
    pub clock: Clock,
}

/// What the health actor owns.
pub struct HealthState {
    node: Arc<Node>,
    stop: watch::Sender<bool>,
    server: AbortHandle,
    watching: JoinHandle<()>,
}

/// Serves health and metrics over HTTP.
pub struct HealthActor;

impl Actor for HealthActor {
    type Msg = HealthMsg;
    type State = HealthState;
    type Arguments = HealthArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<HealthMsg>,
        args: HealthArgs,
    ) -> Result<HealthState, ActorProcessingErr> {
        let HealthArgs { endpoint, desk, addresses, clients, backs_up, clock } = args;
        let last_seen = LastSeen::new(clock, desk.views.clone());
        let (stopping, sealed) = (AtomicBool::new(false), AtomicBool::new(false));
        let node =
            Arc::new(Node { desk, addresses, clients, backs_up, last_seen, stopping, sealed, page: Mutex::default() });
        let (stop, stopped) = watch::channel(false);
        let serving = Arc::clone(&node);
        let server = tokio::spawn(async move {
            let routes = routes(Arc::clone(&serving));
            tokio::select! {
                () = serve(endpoint, routes, stopped) => {}
                () = serving.last_seen.follow() => {}
            }
        });
        let abort = server.abort_handle();
        let watching = tokio::spawn(async move {
            let why = server.await.err().map_or_else(|| "it was told to".to_owned(), |error| error.to_string());
            // An actor that is gone has nothing left to watch.
            let _ = myself.cast(HealthMsg::Ended(ServerEnded(why)));
        });
        Ok(HealthState { node, stop, server: abort, watching })
    }

    async fn post_stop(&self, _: ActorRef<HealthMsg>, state: &mut HealthState) -> Result<(), ActorProcessingErr> {
        // A server that has ended hears nothing.
        let _ = state.stop.send(true);
        if timeout(STOP, &mut state.watching).await.is_err() {
            tracing::warn!("the server of health and metrics does not end; it is aborted");
            state.server.abort();
        }
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<HealthMsg>,
        message: HealthMsg,
        state: &mut HealthState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            HealthMsg::Stopping => {
                state.node.stopping.store(true, Ordering::Relaxed);
                Ok(())
            }
            HealthMsg::Sealed(sealed) => {
                state.node.sealed.store(sealed, Ordering::Relaxed);
                Ok(())
            }
            HealthMsg::Ended(ended) => Err(ended.into()),
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            HealthMsg::InjectPanic => panic!("injected"),
        }
    }
}

impl Drop for HealthState {
    fn drop(&mut self) {
        self.server.abort();
    }
}
