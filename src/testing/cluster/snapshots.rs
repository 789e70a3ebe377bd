//! What can be observed of a cluster, and awaited.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::{Message, RpcReplyPort};
use tokio::sync::watch;

use super::{Cluster, HarnessError, PATIENCE};
use crate::checkup::{CheckupMsg, CheckupSnapshot};
use crate::ids::{NodeId, SheetHash};
use crate::keygen::{KeygenMsg, KeygenSnapshot};
use crate::node::NodeHandle;
use crate::pairing::{PairingMsg, PairingSnapshot};
use crate::registry::{RegistryMsg, View};
use crate::reshare::{ReshareMsg, ReshareSnapshot};
use crate::session::{SessionMsg, SessionSnapshot};
use crate::signing::{SigningMsg, SigningSnapshot};
use crate::storage::StorageSnapshot;
use crate::supervision::Address;
use crate::transport::{TransportMsg, TransportSnapshot};

impl Cluster {
    /// What signing shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn signing(&self, number: usize) -> Result<SigningSnapshot, HarnessError> {
        call(&self.addresses(number)?.signing, SigningMsg::Snapshot).await
    }

    /// What a running signing session shows of itself, if it runs on this node.
    ///
    /// # Errors
    /// When signing does not answer.
    pub async fn session(&self, number: usize, session: SheetHash) -> Result<Option<SessionSnapshot>, HarnessError> {
        let Some(actor) = self.session_actor(number, session).await? else { return Ok(None) };
        // A session that has ended meanwhile does not run.
        Ok(call(&Address::of(actor), SessionMsg::Snapshot).await.ok())
    }

    /// What key generation shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn keygen(&self, number: usize) -> Result<KeygenSnapshot, HarnessError> {
        call(&self.addresses(number)?.keygen, KeygenMsg::Snapshot).await
    }

    /// What resharing shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn resharing(&self, number: usize) -> Result<ReshareSnapshot, HarnessError> {
        call(&self.addresses(number)?.reshare, ReshareMsg::Snapshot).await
    }

    /// What check-ups show of themselves.
    ///
    /// # Errors
    /// When they do not answer.
    pub async fn checkups(&self, number: usize) -> Result<CheckupSnapshot, HarnessError> {
        call(&self.addresses(number)?.checkup, CheckupMsg::Snapshot).await
    }

    /// What pairing shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn pairing(&self, number: usize) -> Result<PairingSnapshot, HarnessError> {
        call(&self.addresses(number)?.pairing, PairingMsg::Snapshot).await
    }

    /// The registry's view.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn registry(&self, number: usize) -> Result<Arc<View>, HarnessError> {
        call(&self.addresses(number)?.registry, RegistryMsg::View).await
    }

    /// What the transport shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn transport(&self, number: usize) -> Result<TransportSnapshot, HarnessError> {
        call(&self.addresses(number)?.transport, TransportMsg::Snapshot).await
    }

    /// What the store shows of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn storage(&self, number: usize) -> Result<StorageSnapshot, HarnessError> {
        Ok(self.store(number)?.snapshot().await?)
    }

    /// Waits until every running node sees every other running node ready.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_ready(&self) -> Result<(), HarnessError> {
        let running: BTreeSet<NodeId> = self.local.running().map(NodeHandle::id).collect();
        self.until_all("all running nodes are ready", |view| running.is_subset(&view.ready())).await
    }

    /// Waits until no running node sees this one ready.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_unready(&self, number: usize) -> Result<(), HarnessError> {
        let gone = self.id(number)?;
        let what = format!("node {number} is not ready");
        self.until_all(&what, |view| view.me == gone || !view.ready().contains(&gone)).await
    }

    /// Waits until the view of every running node satisfies `condition`.
    ///
    /// # Errors
    /// When that takes too long, or a node ends first.
    pub async fn until_all(&self, what: &str, condition: impl Fn(&View) -> bool) -> Result<(), HarnessError> {
        let waited = tokio::time::timeout(PATIENCE, self.local.until(condition)).await;
        Ok(waited.map_err(|_| HarnessError::Timeout(what.to_owned()))??)
    }

    /// The views of a node, as they come.
    ///
    /// # Errors
    /// When it does not run.
    pub fn views(&self, number: usize) -> Result<watch::Receiver<Arc<View>>, HarnessError> {
        self.node(number).map(NodeHandle::views)
    }
}

pub(super) async fn call<M: Message, T: Send + 'static>(
    address: &Address<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, HarnessError> {
    Ok(address.call(PATIENCE, question).await?)
}
