//! Asks the actors what they know of themselves.

use std::time::Duration;

use ractor::{Message, RpcReplyPort};

use crate::backup::{BackupMsg, BackupSnapshot};
use crate::checkup::{CheckupMsg, CheckupSnapshot};
use crate::destruction::{DestructionMsg, DestructionSnapshot};
use crate::gateway::{GatewayMsg, GatewaySnapshot};
use crate::keygen::{KeygenMsg, KeygenSnapshot};
use crate::node::Addresses;
use crate::pairing::{PairingMsg, PairingSnapshot};
use crate::reshare::{ReshareMsg, ReshareSnapshot};
use crate::signing::{SigningMsg, SigningSnapshot};
use crate::storage::{StorageMsg, StorageSnapshot};
use crate::supervision::Address;
use crate::transport::{TransportMsg, TransportSnapshot};

/// How long the answers of all actors may take. Each answers from memory, so one that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(1);

/// What the actors said; nothing where one did not.
#[derive(Debug, Default)]
pub(super) struct Actors {
    pub storage: Option<StorageSnapshot>,
    pub transport: Option<TransportSnapshot>,
    pub pairing: Option<PairingSnapshot>,
    pub keygen: Option<KeygenSnapshot>,
    pub signing: Option<SigningSnapshot>,
    pub reshare: Option<ReshareSnapshot>,
    pub checkup: Option<CheckupSnapshot>,
    pub destruction: Option<DestructionSnapshot>,
    pub gateway: Option<GatewaySnapshot>,
    pub backup: Option<BackupSnapshot>,
}

/// Asks all at once.
pub(super) async fn observe(to: &Addresses) -> Actors {
    let (storage, transport, pairing, keygen, signing, reshare, checkup, destruction, gateway, backup) = tokio::join!(
        ask(&to.storage, |reply| StorageMsg::Snapshot { reply }),
        ask(&to.transport, TransportMsg::Snapshot),
        ask(&to.pairing, PairingMsg::Snapshot),
        ask(&to.keygen, KeygenMsg::Snapshot),
        ask(&to.signing, SigningMsg::Snapshot),
        ask(&to.reshare, ReshareMsg::Snapshot),
        ask(&to.checkup, CheckupMsg::Snapshot),
        ask(&to.destruction, DestructionMsg::Snapshot),
        ask(&to.gateway, GatewayMsg::Snapshot),
        ask(&to.backup, BackupMsg::Snapshot),
    );
    Actors { storage, transport, pairing, keygen, signing, reshare, checkup, destruction, gateway, backup }
}

async fn ask<M: Message, T: Send + 'static>(
    address: &Address<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Option<T> {
    // Its absence is told by a metric of its own.
    address.call(LIMIT, question).await.ok()
}
