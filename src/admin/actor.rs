//! The admin actor: serves the operator's socket, and watches that it is served.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::AdminEndpoint;
use super::execute::Executor;
use super::server::serve;
use crate::identity::NodeIdentity;
use crate::node::{Addresses, NodeMsg};
use crate::storage::StorageHandle;
use crate::supervision::Address;

/// What the admin actor takes.
pub enum AdminMsg {
    /// The server ended, which it does not do by itself.
    Ended(ServerEnded),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

/// The server ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server of the operator's socket ended: {0}")]
pub struct ServerEnded(String);

/// What the admin actor is started with.
#[derive(Clone)]
pub struct AdminArgs {
    /// Where it serves.
    pub endpoint: AdminEndpoint,
    /// Who the node is.
    pub identity: std::sync::Arc<NodeIdentity>,
    /// When the node started.
    pub started: Instant,
    /// The root.
    pub node: Address<NodeMsg>,
    /// The other actors.
    pub addresses: Addresses,
    /// The store.
    pub storage: StorageHandle,
    /// Whether the node makes backups.
    pub backs_up: bool,
}

/// What the admin actor owns.
pub struct AdminState {
    server: tokio::task::AbortHandle,
    _watching: JoinHandle<()>,
}

/// Serves the operator's socket.
pub struct AdminActor;

impl Actor for AdminActor {
    type Msg = AdminMsg;
    type State = AdminState;
    type Arguments = AdminArgs;

    async fn pre_start(&self, myself: ActorRef<AdminMsg>, args: AdminArgs) -> Result<AdminState, ActorProcessingErr> {
        let AdminArgs { endpoint, identity, started, node, addresses, storage, backs_up } = args;
        let (name, me) = (identity.name().to_string(), identity.id());
        let executor = Executor { name, me, started, node, addresses, storage, backs_up };
        let server = tokio::spawn(serve(endpoint, executor));
        let abort = server.abort_handle();
        let watching = tokio::spawn(async move {
            let why = server.await.err().map_or_else(|| "it was told to".to_owned(), |error| error.to_string());
            // An actor that is gone has nothing left to watch.
            let _ = myself.cast(AdminMsg::Ended(ServerEnded(why)));
        });
        Ok(AdminState { server: abort, _watching: watching })
    }

    async fn post_stop(&self, _: ActorRef<AdminMsg>, state: &mut AdminState) -> Result<(), ActorProcessingErr> {
        state.server.abort();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<AdminMsg>,
        message: AdminMsg,
        _: &mut AdminState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AdminMsg::Ended(ended) => Err(ended.into()),
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            AdminMsg::InjectPanic => panic!("injected"),
        }
    }
}

impl Drop for AdminState {
    fn drop(&mut self) {
        self.server.abort();
    }
}
