//! Lives and deaths: of nodes, of their connections, of their actors.

use ractor::{ActorCell, ActorRef, ActorStatus, Message};

use super::snapshots::call;
use super::{Cluster, HarnessError, eventually};
use crate::ids::SheetHash;
use crate::keygen::KeygenMsg;
use crate::keys::Signature;
use crate::node::{Addresses, NodeArgs};
use crate::pairing::PairingMsg;
use crate::registry::RegistryMsg;
use crate::reshare::ReshareMsg;
use crate::session::SessionMsg;
use crate::signing::SigningMsg;
use crate::storage::{Hold, StorageError};
use crate::supervision::{Address, CallError, Unavailable};
use crate::transport::TransportMsg;

/// An actor of a node, for faults to strike. The store's faults strike at its writes: see [`Cluster::hold_write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorName {
    /// The membership.
    Registry,
    /// Pair setups and bans.
    Pairing,
    /// Key generation.
    Keygen,
    /// Signing.
    Signing,
    /// Resharing.
    Reshare,
    /// The broker connection.
    Transport,
}

impl ActorName {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Registry, Self::Pairing, Self::Keygen, Self::Signing, Self::Reshare, Self::Transport];

    /// Makes this actor of a node panic, and does not wait.
    ///
    /// # Errors
    /// When it is not there.
    pub fn panic(self, node: &Addresses) -> Result<(), Unavailable> {
        match self {
            Self::Registry => node.registry.cast(RegistryMsg::InjectPanic),
            Self::Pairing => node.pairing.cast(PairingMsg::InjectPanic),
            Self::Keygen => node.keygen.cast(KeygenMsg::InjectPanic),
            Self::Signing => node.signing.cast(SigningMsg::InjectPanic),
            Self::Reshare => node.reshare.cast(ReshareMsg::InjectPanic),
            Self::Transport => node.transport.cast(TransportMsg::InjectPanic),
        }
    }
}

impl Cluster {
    /// Ends a node as `kill -9` would, and returns when all of its actors are gone. Its folder stays.
    ///
    /// # Errors
    /// When it does not run, or its actors do not end.
    pub async fn lose(&mut self, number: usize) -> Result<(), HarnessError> {
        let actors = self.actors(number)?;
        self.local.kill(number).await;
        all_gone(actors).await
    }

    /// Ends a node as a loss of power would: of what it wrote, only what was synced is left.
    ///
    /// # Errors
    /// When it does not run, its actors do not end, or its folder cannot be changed.
    pub async fn cut_power(&mut self, number: usize) -> Result<(), HarnessError> {
        self.storage_faults(number)?.lose_waiting();
        self.lose(number).await?;
        let storage = &self.args(number)?.storage;
        let cut = || storage.faults.cut_power(&storage.options.folder);
        // A write that was under way ends, and lets go of the store.
        eventually("the store is let go of", async || !matches!(cut(), Err(StorageError::InUse { .. }))).await?;
        Ok(cut()?)
    }

    /// Ends a node at a held write: nothing that comes after the point happens.
    ///
    /// # Errors
    /// When it does not run, or its actors do not end.
    pub async fn lose_at(&mut self, number: usize, hold: Hold) -> Result<(), HarnessError> {
        let actors = self.actors(number)?;
        self.local.kill(number).await;
        hold.crash();
        all_gone(actors).await
    }

    /// Waits until a node has failed by itself and all of its actors are gone.
    ///
    /// # Errors
    /// When it does not run, or goes on running.
    pub async fn until_failed(&mut self, number: usize, actors: Vec<ActorCell>) -> Result<(), HarnessError> {
        let node = self.node(number)?;
        eventually("the node fails", async || node.is_ended()).await?;
        all_gone(actors).await?;
        self.local.kill(number).await;
        Ok(())
    }

    /// Starts a node on what its folder holds. One that runs stays as it is.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, number: usize) -> Result<(), HarnessError> {
        Ok(self.local.start(number).await?)
    }

    /// Changes what a node is made of, from its next start on.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn change(&mut self, number: usize, change: impl FnOnce(&mut NodeArgs)) -> Result<(), HarnessError> {
        self.local.args_mut(number).map(change).ok_or(HarnessError::NotRunning(number))
    }

    /// Ends a node in good order.
    pub async fn shutdown(&mut self, number: usize) {
        self.local.shutdown(number).await;
    }

    /// Cuts a node off: from now on it hears nobody and nobody hears it, and no broker tells anyone.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn isolate(&self, number: usize) -> Result<(), HarnessError> {
        let name = self.name(number)?;
        for other in (0..self.local.len()).filter(|&other| other != number) {
            self.network.partition(name, self.name(other)?);
        }
        Ok(())
    }

    /// From now on, `to` hears nothing of `from`; the other direction works.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn deafen(&self, to: usize, from: usize) -> Result<(), HarnessError> {
        self.network.cut(self.name(from)?, self.name(to)?);
        Ok(())
    }

    /// Ends all cuts, and returns when all running nodes see each other ready.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn heal(&self) -> Result<(), HarnessError> {
        self.network.heal();
        self.until_ready().await
    }

    /// Makes an actor panic, and returns when its next life answers.
    ///
    /// # Errors
    /// When it does not run, or no other life follows.
    pub async fn crash(&self, number: usize, actor: ActorName) -> Result<(), HarnessError> {
        let former = self.life(number, actor)?.ok_or(CallError::Unavailable)?.get_id();
        self.inject_panic(number, actor)?;
        let what = format!("{actor:?} of node {number} lives again");
        eventually(&what, async || self.life(number, actor).ok().flatten().is_some_and(|cell| cell.get_id() != former))
            .await
    }

    /// Makes an actor panic, and does not wait.
    ///
    /// # Errors
    /// When the actor does not run.
    pub fn inject_panic(&self, number: usize, actor: ActorName) -> Result<(), HarnessError> {
        actor.panic(self.addresses(number)?).map_err(|_| CallError::Unavailable.into())
    }

    /// Makes the link of a node to another panic.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn crash_link(&self, number: usize, peer: usize) -> Result<(), HarnessError> {
        let message = TransportMsg::InjectLinkPanic(self.id(peer)?);
        self.addresses(number)?.transport.cast(message).map_err(|_| CallError::Unavailable.into())
    }

    /// Makes a running signing session panic, and returns when it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn crash_session(&self, number: usize, session: SheetHash) -> Result<(), HarnessError> {
        let actor = self.session_actor(number, session).await?.ok_or(CallError::Unavailable)?;
        actor.cast(SessionMsg::InjectPanic).map_err(|_| CallError::Unavailable)?;
        all_gone(vec![actor.get_cell()]).await
    }

    /// The actor of a running signing session, if it runs on this node.
    ///
    /// # Errors
    /// When signing does not answer.
    pub async fn session_actor(
        &self,
        number: usize,
        session: SheetHash,
    ) -> Result<Option<ActorRef<SessionMsg<Signature>>>, HarnessError> {
        call(&self.addresses(number)?.signing, |reply| SigningMsg::Session(session, reply)).await
    }

    /// The current life of an actor, if it has one.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn life(&self, number: usize, actor: ActorName) -> Result<Option<ActorCell>, HarnessError> {
        let to = self.addresses(number)?;
        Ok(match actor {
            ActorName::Registry => cell(&to.registry),
            ActorName::Pairing => cell(&to.pairing),
            ActorName::Keygen => cell(&to.keygen),
            ActorName::Signing => cell(&to.signing),
            ActorName::Reshare => cell(&to.reshare),
            ActorName::Transport => cell(&to.transport),
        })
    }

    /// The current lives of all actors of a node, the store's included.
    ///
    /// # Errors
    /// When it does not run.
    pub fn actors(&self, number: usize) -> Result<Vec<ActorCell>, HarnessError> {
        let storage = cell(&self.addresses(number)?.storage);
        let others: Result<Vec<_>, _> = ActorName::ALL.into_iter().map(|actor| self.life(number, actor)).collect();
        Ok(others?.into_iter().chain([storage]).flatten().collect())
    }
}

/// Waits until actors are gone.
async fn all_gone(actors: Vec<ActorCell>) -> Result<(), HarnessError> {
    eventually("actors end", async || actors.iter().all(|actor| actor.get_status() == ActorStatus::Stopped)).await
}

fn cell<M: Message>(address: &Address<M>) -> Option<ActorCell> {
    address.current().map(|actor| actor.get_cell())
}
